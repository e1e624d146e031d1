/* SPDX-License-Identifier: BSD-3-Clause */
/* markup.h - text of unknown origin in HTML and SVG. Pure functions. */
#ifndef VIXDISK_TOOL_MARKUP_H
#define VIXDISK_TOOL_MARKUP_H

#include <stdio.h>

/** Writes text (a name, a message) so that it is text in an element or a quoted attribute, whatever it holds: markup is
 * escaped; what is no UTF-8, what XML does not allow, and what turns the direction of writing around becomes U+FFFD. */
void markup_text(FILE *to, const char *text);

/** The same, at most columns wide (a character from U+1100 on takes two): the middle is left out for "…". */
void markup_short(FILE *to, const char *text, unsigned columns);

#endif
