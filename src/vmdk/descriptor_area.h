/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor_area.h - the descriptor inside a hosted sparse extent, replaced so that a loss of power at any moment
 * leaves the old or the new text. */
#ifndef VIXDISK_VMDK_DESCRIPTOR_AREA_H
#define VIXDISK_VMDK_DESCRIPTOR_AREA_H

#include "vmdk/extent.h"

/** Where the text lies, in bytes of the file, as the header says. */
struct descriptor_area {
    uint64_t off;
    uint64_t max;
};

/** Replaces the text and flushes. A text that differs in one sector only is written over: sectors do not tear. Else,
 * where old and new text leave half of the area free, the new one goes there first, the header is made to point at it,
 * and then both go back to the front; a longer one is written over as it stands, which a loss of power can tear.
 * @store: open for writing. @x: the open extent of the file if it is in use, whose header must not be changed behind
 * its back; NULL: none. @area: changes if a replacement that was cut short is ended. The caller keeps other changes of
 * the descriptor away. VIX_E_DISK_INVAL if the text does not fit, and what writing can give: the text is then the old
 * or the new one. */
VixError descriptor_area_save(struct store *store, struct extent *x, struct descriptor_area *area, const char *text,
                              size_t len, struct err *err);

#endif
