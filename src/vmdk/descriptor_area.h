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

/** Replaces the text and flushes. A text that differs in one sector only is written over: sectors do not tear. Any
 * other goes to a spare place first, the header is made to point there, and then both go back to where they belong. The
 * spare place is half of the area where both texts leave that free, else new space at the end of the file; in a
 * streamOptimized file, which ends with its footer, what lies between the area and the first record. A replacement that
 * was cut short in a spare place is ended on the way.
 * @store: open for writing. @x: the open extent of the file if it is in use: then nobody allocates meanwhile; NULL:
 * none. The caller keeps other changes of the descriptor away. @ret_area: where the text is afterwards, set also where
 * writing fails. VIX_E_DISK_INVAL if the text does not fit, or has no spare place; VIX_E_DISK_INVALIDDISK for a file
 * without a descriptor; and what reading and writing can give: the text is then the old or the new one. */
VixError descriptor_area_save(struct store *store, struct extent *x, const char *text, size_t len,
                              struct descriptor_area *ret_area, struct err *err);

#endif
