/* SPDX-License-Identifier: BSD-3-Clause */
/* check_int.h - what the passes of a check share. A pass reads one file, tells what it finds, and repairs what it is
 * told to. One thread, but where a pass says otherwise. Inside src/ops: the check_*.c files. */
#ifndef VIXDISK_OPS_CHECK_INT_H
#define VIXDISK_OPS_CHECK_INT_H

#include "ops/check.h"
#include "ops/problem.h"
#include "vmdk/descriptor.h"
#include "vmdk/extent.h"

/** A check that is running. */
struct check {
    struct store_fs *fs;
    uint32_t flags;
    check_func *func;
    void *ctx;
    struct check_summary sum;
    struct problem_list list; /* of the present file */
    bool withheld;            /* the present file is damaged in a way that makes every repair a risk */
    bool has_child;           /* the present link is the parent of one that was checked before */
};

struct link_check;

/** One extent's file being checked. */
struct check_file {
    struct check *c;
    struct store *store; /* writable if the check repairs */
    uint64_t len;        /* bytes */
    uint64_t first;      /* sector of the disk at which the extent begins */
    uint64_t nsectors;   /* of the extent line; 0: not known, the header's capacity counts */
    uint64_t offset;     /* flat: sector of the file at which the extent begins */
    bool in_child;       /* the link has a parent */
    struct link_check *link;
};

/** Tells a problem. @sector and @nsectors of the disk that it is about, 0 and 0 if none. Returns whether the pass is to
 * repair it: the only place that decides. */
bool check_found(struct check *c, enum problem_code code, uint64_t file_off, uint64_t sector, uint64_t nsectors,
                 const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/** Whether something was found in the present file that no repair can set right. */
bool check_is_hurt(const struct check *c);

/** Ends a file: hands its problems on. @repaired: what was to be repaired is. */
VixError check_end_file(struct check *c, const char *file, bool repaired, struct err *err);

/** How the files of this check are opened. */
uint32_t check_store_flags(const struct check *c);

/* ---- check_link.c ---- */

/** The descriptor of a link as a check reads it. */
struct check_link {
    char *path;
    char *real_path;
    uint64_t dev, ino;
    struct descriptor *desc; /* NULL: none that can be understood */
    bool alone;              /* an extent without descriptor was named */
    bool self_extent;        /* the descriptor lies in the first extent */
};

/** Checks one link: descriptor, files, extents. VIX_E_DISK_INVALIDDISK where it is no virtual disk at all. */
VixError check_link(struct check *c, const char *path, struct check_link *ret_link, struct err *err);

/** Reads the descriptor of a link without a lock, and tells nothing. */
VixError check_link_peek(struct check *c, const char *path, struct check_link *ret_link, struct err *err);
void check_link_done(struct check_link *link);

/** Called before a repair after which sectors read otherwise than before it: who knows the disk by its content ID must
 * notice, so it gets a new one, once for each check of a link. Where a child is known, which would then not open, or
 * where the ID cannot be overwritten in place, it stays, and that is told. */
VixError check_renew_cid(struct check_file *f, struct err *err);

/** Checks what the descriptor alone tells. */
void check_descriptor(struct check *c, const struct check_link *link);

/* ---- one pass for each type of extent ---- */

VixError check_flat(struct check_file *f, struct err *err);
VixError check_sparse(struct check_file *f, struct err *err);
VixError check_stream(struct check_file *f, struct err *err);
VixError check_cowd(struct check_file *f, struct err *err);
VixError check_sesparse(struct check_file *f, struct err *err);

/** Tells if an extent's header and its line do not fit. @slack: sectors by which the header may be larger. */
void check_capacity(struct check_file *f, uint64_t header_sectors, uint64_t slack);

/** The sectors of the disk that a range of the extent covers, cut at the end of the extent line. */
uint64_t check_clip(const struct check_file *f, uint64_t sector, uint64_t nsectors);

/** Reads up to len bytes; what the file does not have is zeros. */
VixError check_read_padded(struct store *s, uint8_t *buf, uint64_t len, uint64_t off, struct err *err);

/* ---- check_map.c: which parts of a file are in use ---- */

#define CHECK_MAP_UNITS (UINT64_C(1) << 28) /* limit: units of a file that a check maps together: 32 MiB of memory */
#define CHECK_OVERLAPS_MAX 65536u           /* limit: units used twice that a check looks into */

/** A bit for each unit of a part of a file. What is taken a second time is noted. */
struct check_map {
    uint64_t unit;       /* sectors */
    uint64_t first, end; /* units that are looked at now */
    uint8_t *bits;
    uint64_t taken;     /* units, in all windows */
    uint64_t *overlaps; /* units that were taken twice; sorted by check_map_settle */
    size_t overlap_count;
};

/** A map of units 0 to count; the first window is in view. */
VixError check_map_init(struct check_map *m, uint64_t unit, uint64_t count, struct err *err);
void check_map_done(struct check_map *m);

/** Brings the next window into view; false if there is none. @count as of check_map_init. */
bool check_map_next(struct check_map *m, uint64_t count);

/** Takes the units that a range touches. */
void check_map_take(struct check_map *m, uint64_t sector, uint64_t nsectors);

/** Sorts what was taken twice. */
void check_map_settle(struct check_map *m);

/** Whether a range touches something that was taken twice; after check_map_settle. */
bool check_map_overlaps(const struct check_map *m, uint64_t sector, uint64_t nsectors);

#endif
