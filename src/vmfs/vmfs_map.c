/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_map.c - the runs of a file, and reading and overwriting by them. */
#include "vmfs/vmfs_int.h"

#define LOCK_EXCLUSIVE 1u
#define SURVEY_TRIES 3 /* limit: readings of a file's map that changes meanwhile */

static VixError place_of_run(const struct vmfs_file *f, struct vmfs_run *run, struct err *err)
{
    return vmfs_locate(f->v, run->volume_off, &run->len, f->path, &run->lun, &run->lun_off, err);
}

static VixError map_resident(const struct vmfs_file *f, struct vmfs_run *run, struct err *err)
{
    uint32_t room;

    run->volume_off = f->inode.off + vmfs_resident_at(f->v, &room) + run->off;
    run->within_system = true;
    return place_of_run(f, run, err);
}

static VixError map_block(const struct vmfs_file *f, uint64_t address, struct vmfs_run *run, struct err *err)
{
    struct vmfs_block b;

    VixError code = vmfs_decode_block(f->v, address, &b, err);
    if (code != VIX_OK) {
        return code;
    }
    /* by the size of the block itself, a power of two: a file may be counted in other ones */
    uint64_t skip = run->off & (b.size - 1);
    run->len = min_u64(run->len, b.size - skip);
    run->volume_off = b.off + skip;
    run->kind = b.kind;
    run->shared = b.shared;
    return place_of_run(f, run, err);
}

static VixError map_sub_block(const struct vmfs_file *f, uint64_t address, unsigned nesting, struct vmfs_run *run,
                              struct err *err)
{
    struct vmfs_run part;
    uint64_t cluster;
    uint32_t resource;
    uint64_t size = f->v->resources[VMFS_SBC].size;

    if (size == 0) {
        return vmfs_corrupt(err, "%s: is in a sub-block, and the volume has none", f->path);
    }
    vmfs_decode_resource(f->v, address, &cluster, &resource);
    uint64_t skip = run->off % size;
    uint64_t len = min_u64(run->len, size - skip);
    VixError code = vmfs_locate_resource(f->v, VMFS_SBC, cluster, resource, skip, len, nesting, &part, err);
    if (code == VIX_OK) {
        part.off = run->off;
        part.within_system = true;
        *run = part;
    }
    return code;
}

/** The piece that one address covers. */
static VixError map_piece(struct vmfs_file *f, uint64_t off, uint64_t len, unsigned nesting, struct vmfs_run *ret_run,
                          struct err *err)
{
    uint64_t address = 0, span = 0;

    *ret_run = (struct vmfs_run){.off = off, .len = len};
    if (f->inode.zla == VMFS_ZLA_RESIDENT) {
        return map_resident(f, ret_run, err);
    }
    VixError code = vmfs_find_address(f, off, nesting, &address, &span, err);
    if (code != VIX_OK) {
        return code;
    }
    ret_run->len = min_u64(len, span);
    unsigned type = address & VMFS_ADDRESS_TYPE;
    if (address == 0) {
        ret_run->kind = VMFS_HOLE;
        return VIX_OK;
    }
    if (type == VMFS_ADDRESS_BLOCK || type == VMFS_ADDRESS_LARGE) {
        return map_block(f, address, ret_run, err);
    }
    if (type == VMFS_ADDRESS_SUB_BLOCK) {
        return map_sub_block(f, address, nesting, ret_run, err);
    }
    return vmfs_corrupt(err, "%s: 0x%" PRIx64 " at byte %" PRIu64 " is not the address of a block", f->path, address,
                        off);
}

static bool goes_on(const struct vmfs_run *a, const struct vmfs_run *b)
{
    return a->kind == b->kind && a->shared == b->shared && a->within_system == b->within_system &&
           (a->kind == VMFS_HOLE ||
            (a->lun == b->lun && a->lun_off + a->len == b->lun_off && a->volume_off + a->len == b->volume_off));
}

VixError vmfs_map_nested(struct vmfs_file *f, uint64_t off, uint64_t len, unsigned nesting, struct vmfs_run *ret_run,
                         struct err *err)
{
    struct vmfs_run run, next;

    if (len == 0 || off >= f->inode.length || len > f->inode.length - off) {
        return err_set(err, VIX_E_HOST_FILE_ERROR_EOF,
                       "%s: %" PRIu64 " bytes at %" PRIu64 " of a file of %" PRIu64 " bytes", f->path, len, off,
                       f->inode.length);
    }
    VixError code = map_piece(f, off, len, nesting, &run, err);
    while (code == VIX_OK && run.len < len) {
        code = map_piece(f, off + run.len, len - run.len, nesting, &next, err);
        if (code == VIX_OK && !goes_on(&run, &next)) {
            break;
        }
        run.len += code == VIX_OK ? next.len : 0;
    }
    if (code == VIX_OK) {
        *ret_run = run;
    }
    return code;
}

VixError vmfs_file_map(struct vmfs_file *f, uint64_t off, uint64_t len, struct vmfs_run *ret_run, struct err *err)
{
    return vmfs_map_nested(f, off, len, 0, ret_run, err);
}

/* ---- reading ---- */

static VixError read_run(struct vmfs_file *f, const struct vmfs_run *run, uint8_t *buf, struct err *err)
{
    switch (run->kind) {
    case VMFS_DATA:
        return store_read(f->v->luns[run->lun], buf, run->len, run->lun_off, err);
    case VMFS_UNSURE:
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: of the %" PRIu64 " bytes at %" PRIu64 " some are zeros and some not, and the map does not "
                       "tell which",
                       f->path, run->len, run->off);
    case VMFS_HOLE:
    case VMFS_TO_BE_ZEROED:
    default:
        memset(buf, 0, run->len);
        return VIX_OK;
    }
}

VixError vmfs_read_nested(struct vmfs_file *f, void *buf, uint64_t len, uint64_t off, unsigned nesting, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t done = 0; done < len && code == VIX_OK;) {
        struct vmfs_run run;
        code = vmfs_map_nested(f, off + done, len - done, nesting, &run, err);
        if (code == VIX_OK) {
            code = read_run(f, &run, (uint8_t *)buf + done, err);
            done += run.len;
        }
    }
    return code;
}

VixError vmfs_file_read(struct vmfs_file *f, void *buf, uint64_t len, uint64_t off, struct err *err)
{
    return vmfs_read_nested(f, buf, len, off, 0, err);
}

/* ---- overwriting ---- */

static const char *why_not_written(const struct vmfs_run *run)
{
    switch (run->kind) {
    case VMFS_HOLE:
        return "not allocated";
    case VMFS_TO_BE_ZEROED:
    case VMFS_UNSURE:
        return "to be zeroed by the host first";
    case VMFS_DATA:
    default:
        return run->shared ? "shared with other files" : run->within_system ? "within a system file" : NULL;
    }
}

/** Whether all of a range may be overwritten; looked at before anything is. */
static VixError check_range(struct vmfs_file *f, uint64_t len, uint64_t off, struct err *err)
{
    for (uint64_t done = 0; done < len;) {
        struct vmfs_run run;
        VixError code = vmfs_file_map(f, off + done, len - done, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        const char *why = why_not_written(&run);
        if (why != NULL) {
            return err_set(err, VIX_E_FILE_READ_ONLY,
                           "%s: %" PRIu64 " bytes at %" PRIu64 " are %s: they cannot be written on the LUN; use nbdssl",
                           f->path, run.len, run.off, why);
        }
        done += run.len;
    }
    return VIX_OK;
}

VixError vmfs_file_write(struct vmfs_file *f, const void *buf, uint64_t len, uint64_t off, struct err *err)
{
    VixError code = f->inode.type == VMFS_TYPE_FILE
                        ? check_range(f, len, off, err)
                        : err_set(err, VIX_E_FILE_READ_ONLY, "%s: is not an ordinary file", f->path);

    for (uint64_t done = 0; done < len && code == VIX_OK;) {
        struct vmfs_run run;
        code = vmfs_file_map(f, off + done, len - done, &run, err);
        if (code == VIX_OK && why_not_written(&run) != NULL) {
            code = err_set(err, VIX_E_FILE_READ_ONLY, "%s: its blocks change while it is written", f->path);
        }
        if (code == VIX_OK) {
            code = store_write(f->v->luns[run.lun], (const uint8_t *)buf + done, run.len, run.lun_off, err);
            done += run.len;
        }
    }
    return code;
}

/* ---- the whole file ---- */

static VixError walk(struct vmfs_file *f, struct vmfs_survey *s, struct err *err)
{
    for (uint64_t off = 0; off < f->inode.length;) {
        struct vmfs_run run;
        VixError code = vmfs_file_map(f, off, f->inode.length - off, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        s->data += run.kind == VMFS_DATA ? run.len : 0;
        s->hole += run.kind == VMFS_HOLE ? run.len : 0;
        s->to_be_zeroed += run.kind == VMFS_TO_BE_ZEROED ? run.len : 0;
        s->unsure += run.kind == VMFS_UNSURE ? run.len : 0;
        s->not_own += run.kind == VMFS_DATA && (run.shared || run.within_system) ? run.len : 0;
        off += run.len;
    }
    return VIX_OK;
}

/** Reads the descriptor again: whether it is as it was. What is new takes the place of the old, and nothing that was
 * read by the old one is kept. */
static VixError read_again(struct vmfs_file *f, bool *ret_same, struct err *err)
{
    struct vmfs_inode now;

    VixError code = vmfs_read_inode(f->v, f->inode.off, &now, err);
    if (code != VIX_OK) {
        return code;
    }
    if (now.address != f->inode.address || now.generation != f->inode.generation || now.type != f->inode.type) {
        free(now.bytes);
        return err_set(err, VIX_E_OBJECT_IS_BUSY, "%s: another file has taken its place", f->path);
    }
    uint32_t count, first = vmfs_addresses_at(f->v, &count);
    *ret_same = now.length == f->inode.length && now.token == f->inode.token && now.zla == f->inode.zla &&
                now.lock_mode == f->inode.lock_mode && now.to_be_zeroed == f->inode.to_be_zeroed &&
                memcmp(now.bytes + first, f->inode.bytes + first, f->v->inode_size - first) == 0;
    if (*ret_same) {
        free(now.bytes);
        return VIX_OK;
    }
    free(f->inode.bytes);
    f->inode = now;
    for (size_t i = 0; i < VMFS_PAGES; i++) {
        free(f->pages[i].bytes);
        f->pages[i].bytes = NULL;
    }
    return VIX_OK;
}

VixError vmfs_file_survey(struct vmfs_file *f, struct vmfs_survey *ret_survey, struct err *err)
{
    for (int tries = 0; tries < SURVEY_TRIES; tries++) {
        struct vmfs_survey s = {0};
        bool same = false;
        VixError code = walk(f, &s, err);
        VixError again = read_again(f, &same, code == VIX_OK ? err : NULL);
        if (again != VIX_OK) {
            return code != VIX_OK ? code : again;
        }
        if (same) {
            *ret_survey = s;
            return code;
        }
    }
    return err_set(err, VIX_E_OBJECT_IS_BUSY, "%s: a host changes the file: its map was not the same twice in %d tries",
                   f->path, SURVEY_TRIES);
}

/* ---- facts ---- */

uint64_t vmfs_file_length(const struct vmfs_file *f)
{
    return f->inode.length;
}

bool vmfs_file_is_in_use(const struct vmfs_file *f)
{
    return f->inode.lock_mode == LOCK_EXCLUSIVE;
}

bool vmfs_file_has_to_be_zeroed(const struct vmfs_file *f)
{
    return f->inode.to_be_zeroed != 0;
}

VixError vmfs_file_open(struct vmfs *v, const char *path, struct vmfs_file **ret_file, struct err *err)
{
    struct vmfs_inode n;

    VixError code = vmfs_lookup(v, path, &n, err);
    if (code != VIX_OK) {
        return code;
    }
    if (n.type == VMFS_TYPE_FILE) {
        return vmfs_file_new(v, path, &n, ret_file, err);
    }
    free(n.bytes);
    if (n.type == VMFS_TYPE_RDM) {
        return err_set(err, VIX_E_DISK_UNSUPPORTEDDEVICE, "%s: is a raw device mapping: its bytes are on another LUN",
                       path);
    }
    return err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is no file: type %" PRIu32 " of VMFS, allowed: %u", path,
                   n.type, VMFS_TYPE_FILE);
}
