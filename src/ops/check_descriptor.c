/* SPDX-License-Identifier: BSD-3-Clause */
/* check_descriptor.c - the pass over what a descriptor says of itself. Invariants: each key once; createType fits
 * number and types of the extents; there are sectors; what is said twice (content ID, parent, change tracking) agrees.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "ops/check_int.h"

#define BIT(type) (1u << (type))

/** What the extents of a createType are. */
struct type_rule {
    const char *name;
    unsigned types;     /* bits of enum extent_type */
    size_t max_extents; /* 0: any number */
    bool self_extent;   /* the descriptor lies in the extent */
};

static const struct type_rule rules[] = {
    {"monolithicSparse", BIT(EXTENT_SPARSE), 1, true},
    {"streamOptimized", BIT(EXTENT_SPARSE), 1, true},
    {"monolithicFlat", BIT(EXTENT_FLAT), 1, false},
    {"twoGbMaxExtentSparse", BIT(EXTENT_SPARSE), 0, false},
    {"2GbMaxExtentSparse", BIT(EXTENT_SPARSE), 0, false},
    {"twoGbMaxExtentFlat", BIT(EXTENT_FLAT), 0, false},
    {"2GbMaxExtentFlat", BIT(EXTENT_FLAT), 0, false},
    {"vmfs", BIT(EXTENT_VMFS), 1, false},
    {"vmfsPreallocated", BIT(EXTENT_VMFS), 1, false},
    {"vmfsEagerZeroedThick", BIT(EXTENT_VMFS), 1, false},
    {"vmfsThin", BIT(EXTENT_VMFS), 1, false},
    {"vmfsThick", BIT(EXTENT_VMFS), 1, false},
    {"vmfsSparse", BIT(EXTENT_VMFSSPARSE), 1, false},
    {"seSparse", BIT(EXTENT_SESPARSE), 1, false},
    {"vmfsSeSparse", BIT(EXTENT_SESPARSE), 1, false},
    {"vsanSparse", BIT(EXTENT_VSANSPARSE), 1, false},
    {"fullDevice", BIT(EXTENT_FLAT), 1, false},
    {"partitionedDevice", BIT(EXTENT_FLAT) | BIT(EXTENT_ZERO), 0, false},
    {"vmfsRaw", BIT(EXTENT_VMFSRAW), 1, false},
    {"vmfsRDM", BIT(EXTENT_VMFSRDM), 1, false},
    {"vmfsRawDeviceMap", BIT(EXTENT_VMFSRDM), 1, false},
    {"vmfsRDMP", BIT(EXTENT_VMFSRDM), 1, false},
    {"vmfsPassthroughRawDeviceMap", BIT(EXTENT_VMFSRDM), 1, false},
};

static const struct type_rule *rule_of(const char *create_type)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (text_equal_nocase(rules[i].name, create_type)) {
            return &rules[i];
        }
    }
    return NULL;
}

static void check_extent_types(struct check *c, const struct descriptor *d, const struct type_rule *rule)
{
    uint64_t first = 0;

    for (size_t i = 0; i < d->extent_count; i++) {
        const struct extent_line *x = &d->extents[i];
        if ((rule->types & BIT(x->type)) == 0 && x->nsectors > 0) {
            (void)check_found(c, PROBLEM_CREATE_TYPE, CHECK_NOWHERE, first, x->nsectors,
                              "extent %zu is of type %s, which a disk of createType \"%s\" has not", i + 1,
                              extent_type_word(x->type), d->create_type);
        }
        first += x->nsectors;
    }
}

static void check_create_type(struct check *c, const struct check_link *link)
{
    const struct descriptor *d = link->desc;
    const struct type_rule *rule = rule_of(d->create_type);

    if (rule == NULL) {
        if (!text_equal_nocase(d->create_type, "custom")) {
            (void)check_found(c, PROBLEM_CREATE_TYPE, CHECK_NOWHERE, 0, 0, "createType is \"%.200s\", which is unknown",
                              d->create_type);
        }
        return;
    }
    check_extent_types(c, d, rule);
    if (rule->max_extents != 0 && d->extent_count > rule->max_extents) {
        (void)check_found(c, PROBLEM_CREATE_TYPE, CHECK_NOWHERE, 0, 0,
                          "%zu extents, a disk of createType \"%s\" has at most %zu", d->extent_count, d->create_type,
                          rule->max_extents);
    }
    if (rule->self_extent && !link->self_extent) {
        (void)check_found(c, PROBLEM_CREATE_TYPE, CHECK_NOWHERE, 0, 0,
                          "the descriptor of a disk of createType \"%s\" is to be in its extent, and is a file of its "
                          "own",
                          d->create_type);
    }
}

static void check_content_id(struct check *c, const struct descriptor *d)
{
    const char *long_id = descriptor_ddb_get(d, "longContentID");
    char tail[16];

    if (long_id == NULL) {
        return;
    }
    (void)snprintf(tail, sizeof tail, "%08" PRIx32, d->cid);
    size_t len = strlen(long_id);
    if (len < 8 || !text_equal_nocase(long_id + len - 8, tail)) {
        (void)check_found(c, PROBLEM_LONG_CONTENT_ID, CHECK_NOWHERE, 0, 0,
                          "ddb.longContentID is \"%.64s\", the CID %08" PRIx32, long_id, d->cid);
    }
}

static void check_parent_keys(struct check *c, const struct descriptor *d)
{
    bool hint = d->parent_hint != NULL && d->parent_hint[0] != '\0';

    if (!d->has_parent_cid) {
        (void)check_found(c, PROBLEM_PARENT_CID_ABSENT, CHECK_NOWHERE, 0, 0,
                          "there is no line parentCID; the disk is taken as one without parent");
    }
    if (hint && d->parent_cid == CID_NO_PARENT) {
        (void)check_found(c, PROBLEM_PARENT_HINT, CHECK_NOWHERE, 0, 0,
                          "parentFileNameHint is \"%.200s\", but parentCID says that there is no parent",
                          d->parent_hint);
    }
}

void check_descriptor(struct check *c, const struct check_link *link)
{
    const struct descriptor *d = link->desc;

    if (d == NULL) {
        return;
    }
    if (d->repeated_keys > 0) {
        (void)check_found(c, PROBLEM_DESCRIPTOR_REPEATED, CHECK_NOWHERE, 0, 0,
                          "%zu keys occur more than once; the first one of each counts", d->repeated_keys);
    }
    if (d->capacity == 0) {
        (void)check_found(c, PROBLEM_NO_CAPACITY, CHECK_NOWHERE, 0, 0, "%zu extents, of no sectors", d->extent_count);
    }
    if ((d->version == 3) != (d->change_track_path != NULL)) {
        (void)check_found(c, PROBLEM_TRACKING_VERSION, CHECK_NOWHERE, 0, 0,
                          "version is %" PRIu32 ", changeTrackPath %s", d->version,
                          d->change_track_path != NULL ? d->change_track_path : "is not there");
    }
    check_create_type(c, link);
    check_content_id(c, d);
    check_parent_keys(c, d);
}
