/* SPDX-License-Identifier: BSD-3-Clause */
/* check_sparse_int.h - the parts of the pass over hosted sparse extents: check_sparse.c (order, header),
 * check_sparse_layout.c (where directories and tables are), check_sparse_tables.c (what the tables say),
 * check_sparse_repair.c. Included by no one else. */
#ifndef VIXDISK_OPS_CHECK_SPARSE_INT_H
#define VIXDISK_OPS_CHECK_SPARSE_INT_H

#include "ops/check_int.h"
#include "vmdk/grain_extent.h"
#include "vmdk/sparse_header.h"

#define SPARSE_CHECK_MAX_TABLES (UINT64_C(1) << 20) /* limit: grain tables of an extent that is checked */
#define TABLE_LOST UINT32_MAX                       /* in memory: a directory entry that leads to no table */

/** The two copies of directory and tables. */
enum table_copy { PRIMARY = 0, REDUNDANT = 1 };

/** A table and where it lies. */
struct sparse_piece {
    uint32_t sector;
    uint32_t gt : 31;
    uint32_t copy : 1;
};

/** An entry that one copy has and the other has not. */
struct sparse_lone {
    uint64_t grain;
    uint32_t value;
    enum table_copy missing;
};

struct sparse_check {
    struct check_file *f;
    struct sparse_header h;
    uint8_t sector[SECTOR_SIZE];
    uint64_t file_sectors; /* whole ones */
    uint64_t grain_count;
    unsigned copies;        /* 1 or 2 */
    uint64_t dir_sector[2]; /* where each directory is, or belongs */
    bool dir_lost[2];
    bool dir_rebuild[2]; /* a lost directory is to be made anew at dir_sector */
    uint32_t *dir[2];
    struct sparse_piece *pieces; /* of both copies, by sector */
    size_t piece_count;
    uint8_t *tables[2]; /* some tables of each copy */
    struct check_map map;
    struct sparse_lone *lone;
    size_t lone_count, lone_room;
    VixError failure; /* of a visit: no memory */
    uint64_t unaligned, first_unaligned;
    uint64_t past_end;
    uint64_t allocated;
    bool repair_tables, repair_entries, repair_flags;
};

/** Whether a directory entry leads to a table. */
static inline bool sparse_has_table(const struct sparse_check *s, enum table_copy copy, uint64_t gt)
{
    return s->dir[copy] != NULL && s->dir[copy][gt] != TABLE_LOST && s->dir[copy][gt] != GDE_ABSENT;
}

/** Where a table of a copy is in the usual layout. */
static inline uint64_t sparse_slot(const struct sparse_check *s, enum table_copy copy, uint64_t gt)
{
    return s->dir_sector[copy] + s->h.gd_sectors + gt * s->h.gt_sectors;
}

/** Where a directory of a copy is in the usual layout. */
uint64_t sparse_canonical_directory(const struct sparse_check *s, enum table_copy copy);

/** Whether sectors in front of overHead belong to nothing but, at most, this table. */
bool sparse_is_free(const struct sparse_check *s, uint64_t sector, uint64_t nsectors, enum table_copy copy,
                    uint64_t gt);

/** Loads the directories and finds what lies where it cannot. *ret_go false: there are no tables to look at. */
VixError sparse_check_layout(struct sparse_check *s, bool *ret_go, struct err *err);

/** Tells that a table is lost in one copy, and marks it. */
void sparse_table_lost(struct sparse_check *s, enum table_copy copy, uint64_t gt, const char *why);

/** Reads n tables of a copy; those that are not there are zeros, those that cannot be read become lost. */
VixError sparse_read_tables(struct sparse_check *s, enum table_copy copy, uint64_t gt, uint64_t n, struct err *err);

/** Looks at all entries. */
VixError sparse_check_tables(struct sparse_check *s, struct err *err);

/** Carries out what the passes were told to repair; the header last. */
VixError sparse_repair(struct sparse_check *s, bool clear_unclean, struct err *err);

#endif
