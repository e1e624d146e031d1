/* SPDX-License-Identifier: BSD-3-Clause */
/* disks.c - what is done to a disk whose files came out of an input, whatever its type. */
#include "fuzz.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "ops/check.h"
#include "vmdk/chain.h"

#define RUNS_MAX 256u
#define RUN_SECTORS 8u

const char *const chain_names[CHAIN_FILES] = {"disk.vmdk",        "parent.vmdk",       "disk-s001.vmdk",
                                              "disk-s002.vmdk",   "disk-flat.vmdk",    "disk-delta.vmdk",
                                              "parent-flat.vmdk", "disk-sesparse.vmdk"};

static uint8_t scratch[RUN_SECTORS * SECTOR_SIZE];

static VixError look_at_runs(struct chain *c, uint32_t flags, struct err *err)
{
    uint64_t sector = 0;

    for (unsigned i = 0; i < RUNS_MAX && sector < c->capacity; i++) {
        struct chain_run run = {0};
        VixError code = chain_map(c, sector, c->capacity - sector, flags, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        FUZZ_ASSERT(run.nsectors > 0 && run.nsectors <= c->capacity - sector, "%" PRIu64 " at %" PRIu64, run.nsectors,
                    sector);
        code = chain_read(c, sector, min_u64(run.nsectors, RUN_SECTORS), scratch, err);
        if (code != VIX_OK) {
            return code;
        }
        sector += run.nsectors;
    }
    return VIX_OK;
}

static VixError look_at_chain(struct chain *c, struct view *view, struct err *err)
{
    uint64_t last = min_u64(c->capacity, RUN_SECTORS);

    view->capacity = c->capacity;
    view->nsectors = min_u64(c->capacity, VIEW_SECTORS);
    view->bytes = calloc(view->nsectors + 1, SECTOR_SIZE);
    FUZZ_ASSERT(view->bytes != NULL, "no memory");
    VixError code = chain_read(c, 0, view->nsectors, view->bytes, err);
    if (code == VIX_OK) {
        code = chain_read(c, c->capacity - last, last, scratch, err);
    }
    if (code == VIX_OK) {
        code = look_at_runs(c, 0, err);
    }
    return code;
}

static void look_at_meta(struct chain *c)
{
    char *keys = NULL;
    size_t len = 0;

    if (chain_meta_keys(c, &keys, &len, NULL) != VIX_OK) {
        return;
    }
    for (const char *key = keys; *key != '\0'; key += strlen(key) + 1) {
        char *value = NULL;
        struct err err;
        err_init(&err);
        VixError code = chain_meta_get(c, key, &value, &err);
        FUZZ_ASSERT(code == VIX_OK, "key %s is listed, but %s", key, err.text);
        free(value);
    }
    free(keys);
}

void disk_look(struct store_fs *fs, const char *path, struct view *ret_view)
{
    struct chain *c = NULL;
    struct err err;

    err_init(&err);
    memset(ret_view, 0, sizeof *ret_view);
    ret_view->code = chain_open(fs, path, CHAIN_READ, NULL, &c, &err);
    if (ret_view->code == VIX_OK) {
        look_at_meta(c);
        ret_view->code = look_at_chain(c, ret_view, &err);
        VixError code = chain_close(c, &err);
        FUZZ_ASSERT(code == VIX_OK, "%s", err.text);
    }
    if (ret_view->code != VIX_OK) {
        FUZZ_ASSERT(err.code == ret_view->code && err.text[0] != '\0', "code %d without a sentence",
                    (int)ret_view->code);
        memcpy(ret_view->why, err.text, sizeof ret_view->why);
    }
}

VixError disk_check_remarks(struct store_fs *fs, const char *path, uint64_t *ret_remarks)
{
    struct check_summary summary = {0};
    struct err err;

    err_init(&err);
    VixError code = ops_check(fs, path, CHECK_DEEP | CHECK_CHAIN, NULL, NULL, &summary, &err);
    *ret_remarks = summary.notes;
    return code;
}

VixError disk_check(struct store_fs *fs, const char *path)
{
    uint64_t remarks;
    return disk_check_remarks(fs, path, &remarks);
}

void disk_must_read(bool sound, const struct view *view)
{
    bool reads = view->code == VIX_OK;
    bool is_no_disk = view->code == VIX_E_DISK_NEEDKEY || strstr(view->why, "descriptor file") != NULL;

    FUZZ_ASSERT(!sound || reads || is_no_disk, "is called sound and cannot be read: %s", view->why);
}

/* ---- writing ---- */

struct write_plan {
    uint64_t sector, nsectors;
    uint8_t fill;
};

static const struct write_plan plans[] = {{1, 3, 0xa1}, {126, 5, 0xa2}, {260, 8, 0}, {261, 1, 0xa3}};

/* All of it, in ascending order; what lies beyond the end is left out. */
static VixError write_all(struct store_fs *fs, const char *path, struct view *expect)
{
    struct chain *c = NULL;
    struct err err;
    VixError code = chain_open(fs, path, CHAIN_WRITE, NULL, &c, &err);

    if (code != VIX_OK) {
        return code;
    }
    for (size_t i = 0; i < sizeof plans / sizeof plans[0] && code == VIX_OK; i++) {
        const struct write_plan *p = &plans[i];
        if (p->sector + p->nsectors <= expect->nsectors) {
            memset(scratch, p->fill, sizeof scratch);
            code = chain_write(c, p->sector, p->nsectors, scratch, &err);
            memset(expect->bytes + p->sector * SECTOR_SIZE, p->fill, p->nsectors * SECTOR_SIZE);
        }
    }
    VixError flushed = chain_flush(c, &err);
    VixError closed = chain_close(c, &err);
    return code != VIX_OK ? code : flushed != VIX_OK ? flushed : closed;
}

static void write_to_copy(struct store_fs *fs, const char *path, bool sound, struct view *before)
{
    struct store_fs *copy = store_fs_mem_clone(fs, NULL);
    struct view after;

    FUZZ_ASSERT(copy != NULL, "no memory");
    VixError code = write_all(copy, path, before);
    disk_look(copy, path, &after);
    VixError check = disk_check(copy, path);
    if (sound && code == VIX_OK) {
        FUZZ_ASSERT(after.code == VIX_OK, "cannot be read after a write: %s", after.why);
        FUZZ_ASSERT(after.nsectors == before->nsectors, "another capacity");
        FUZZ_ASSERT(memcmp(after.bytes, before->bytes, after.nsectors * SECTOR_SIZE) == 0, "reads other bytes");
        FUZZ_ASSERT(check == VIX_OK, "a sound disk is not sound after a write: %d", (int)check);
    }
    free(after.bytes);
    store_fs_mem_free(copy);
}

void disk_exercise(struct store_fs *fs, const char *path)
{
    struct view before;
    bool sound = disk_check(fs, path) == VIX_OK;

    disk_look(fs, path, &before);
    disk_must_read(sound, &before);
    if (before.bytes != NULL) {
        write_to_copy(fs, path, sound && before.code == VIX_OK, &before);
    }
    free(before.bytes);
}
