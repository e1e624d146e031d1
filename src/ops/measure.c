/* SPDX-License-Identifier: BSD-3-Clause */
/* measure.c - how much space a copy of a disk would take, as far as it can be known before: the copy is made, but into
 * a disk that only counts. All data is read, since zeros that are stored in the source take no space in the copy; for
 * streamOptimized it is compressed too. Only for types that take their space at once nothing is read. Descriptors count
 * as a block of the file system. A remote disk is not read: what its host says is allocated counts. */
#include <inttypes.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/remote.h"
#include "ops/convert.h"
#include "ops/copy.h"
#include "ops/ops.h"
#include "vmdk/stream_format.h"

#define BLOCK_BYTES 4096u
#define BLOCK_SECTORS 8u

/* COWD, in sectors */
#define COWD_HEADER 4u
#define COWD_TABLE_COVERS 4096u
#define COWD_TABLE 32u
#define COWD_TABLES_PER_GD_SECTOR 128u

/** A disk that takes everything and keeps only its amount. */
struct counter {
    struct disk base;
    uint64_t unit;             /* sectors: what a write takes at least */
    _Atomic uint64_t nsectors; /* in whole units */
    _Atomic uint8_t *tables;   /* NULL, or a flag for each table of COWD that is needed */
};

static VixError count_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct counter *c = (struct counter *)d;

    (void)buf, (void)err;
    atomic_fetch_add(&c->nsectors, round_up(nsectors, c->unit));
    if (c->tables != NULL) {
        for (uint64_t i = sector / COWD_TABLE_COVERS; i <= (sector + nsectors - 1) / COWD_TABLE_COVERS; i++) {
            atomic_store_explicit(&c->tables[i], 1, memory_order_relaxed);
        }
    }
    return VIX_OK;
}

/** Only what copy_disk calls. */
static const struct disk_ops counter_ops = {.transport = "none", .write = count_write};

/** The sectors of a remote disk that are allocated. */
static VixError count_allocated(struct counter *c, struct disk *src, struct err *err)
{
    for (uint64_t at = 0; at < src->capacity;) {
        struct disk_run run;
        VixError code = src->ops->map(src, at, src->capacity - at, EXTENT_MAP_STATUS, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        if (!run.zero) {
            (void)count_write(&c->base, at, run.nsectors, NULL, NULL);
        }
        at += run.nsectors;
    }
    return VIX_OK;
}

/** The sectors of src that are not zero, in whole units. @tables may be NULL. */
static VixError count_data(struct disk *src, uint64_t unit, _Atomic uint8_t *tables, uint64_t *ret_sectors,
                           struct err *err)
{
    struct counter c = {
        .base = {.ops = &counter_ops, .path = src->path, .capacity = src->capacity, .writable = true},
        .unit = unit,
        .tables = tables,
    };
    struct progress_meter silent;
    const struct copy_job job = {.src = src, .dst = &c.base, .unit = unit, .meter = &silent};

    meter_init(&silent, (struct ops_progress){0}, src->capacity * SECTOR_SIZE);
    VixError code = disk_is_remote(src) ? count_allocated(&c, src, err) : copy_disk(&job, err);
    if (code == VIX_OK) {
        *ret_sectors = atomic_load(&c.nsectors);
    }
    return code;
}

/* ---- the types ---- */

/** The blocks of a separate descriptor. */
static VixError descriptor_blocks(struct disk *src, VixDiskLibDiskType type, uint64_t *ret_bytes, struct err *err)
{
    const struct create_params p = {
        .type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = src->capacity, .allow_over_2tb = true};
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    VixError code = vmdk_descriptor_text(src->path, &p, &text, &len, err);

    if (code == VIX_OK) {
        *ret_bytes = round_up(len, BLOCK_BYTES);
    }
    return code;
}

static VixError measure_raw(struct disk *src, bool at_once, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
    uint64_t nsectors = src->capacity;
    VixError code = at_once ? VIX_OK : count_data(src, BLOCK_SECTORS, NULL, &nsectors, err);

    if (code == VIX_OK) {
        *ret_required = nsectors * SECTOR_SIZE;
        *ret_full = src->capacity * SECTOR_SIZE;
    }
    return code;
}

static VixError measure_sparse(struct disk *src, bool split, uint64_t *ret_required, uint64_t *ret_full,
                               struct err *err)
{
    uint64_t empty = 0;
    uint64_t full = 0;
    uint64_t data = 0;
    uint64_t most = split ? SPLIT_EXTENT_SECTORS : src->capacity;

    for (uint64_t done = 0; done < src->capacity; done += most) {
        uint64_t nsectors = min_u64(most, src->capacity - done);
        empty += extent_sparse_empty_size(nsectors, !split);
        full += extent_sparse_full_size(nsectors, !split);
    }
    VixError code = count_data(src, KDMV_DEFAULT_GRAIN, NULL, &data, err);
    if (code == VIX_OK) {
        *ret_required = empty + data * SECTOR_SIZE;
        *ret_full = full;
    }
    return code;
}

static VixError measure_cowd(struct disk *src, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
    uint64_t table_count = div_up(src->capacity, COWD_TABLE_COVERS);
    uint64_t front = COWD_HEADER + div_up(table_count, COWD_TABLES_PER_GD_SECTOR);
    uint64_t data = 0;
    uint64_t used = 0;
    _Atomic uint8_t *tables = alloc_array(table_count, sizeof *tables, err);

    if (tables == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = count_data(src, BLOCK_SECTORS, tables, &data, err);
    for (uint64_t i = 0; i < table_count; i++) {
        used += atomic_load_explicit(&tables[i], memory_order_relaxed);
    }
    free((void *)tables);
    if (code == VIX_OK) {
        *ret_required = (front + used * COWD_TABLE + data) * SECTOR_SIZE;
        *ret_full = (front + table_count * COWD_TABLE + src->capacity) * SECTOR_SIZE;
    }
    return code;
}

static VixError count_append(void *ctx, const struct iovec *iov, int iovcnt, struct err *err)
{
    uint64_t *bytes = ctx;

    (void)err;
    for (int i = 0; i < iovcnt; i++) {
        *bytes += iov[i].iov_len;
    }
    return VIX_OK;
}

/** A file in which nothing could be compressed. */
static uint64_t stream_full_size(uint64_t capacity)
{
    uint64_t grains = div_up(capacity, KDMV_DEFAULT_GRAIN);
    uint64_t tables = div_up(grains, KDMV_GTES_PER_GT);
    uint64_t gd_sectors = div_up(tables * sizeof(uint32_t), SECTOR_SIZE);
    uint64_t gt_sectors = KDMV_GTES_PER_GT * sizeof(uint32_t) / SECTOR_SIZE;

    return (STREAM_OVERHEAD_SECTORS + grains * (KDMV_DEFAULT_GRAIN + 1) + tables * (1 + gt_sectors) + 1 + gd_sectors +
            1 + 1 + 1) *
           SECTOR_SIZE;
}

/** As if nothing could be compressed. */
static VixError measure_remote_stream(struct disk *src, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
    uint64_t data = 0;
    VixError code = count_data(src, KDMV_DEFAULT_GRAIN, NULL, &data, err);

    if (code == VIX_OK) {
        *ret_required = stream_full_size(data);
        *ret_full = stream_full_size(src->capacity);
    }
    return code;
}

static VixError measure_stream(struct disk *src, uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
    const struct create_params p = {.type = VIXDISKLIB_DISK_STREAM_OPTIMIZED, .allow_over_2tb = true};
    const struct chain_tuning tuning = {0};
    struct progress_meter silent;
    uint64_t bytes = 0;
    const struct stream_sink sink = {.append = count_append, .ctx = &bytes, .name = "the measured stream"};

    if (disk_is_remote(src)) {
        return measure_remote_stream(src, ret_required, ret_full, err);
    }
    meter_init(&silent, (struct ops_progress){0}, src->capacity * SECTOR_SIZE);
    VixError code = convert_to_stream(src, &p, &tuning, &sink, &silent, err);
    if (code == VIX_OK) {
        *ret_required = bytes;
        *ret_full = stream_full_size(src->capacity);
    }
    return code;
}

static VixError measure_type(struct disk *src, VixDiskLibDiskType type, uint64_t *ret_required, uint64_t *ret_full,
                             struct err *err)
{
    switch (type) {
    case VIXDISKLIB_DISK_MONOLITHIC_SPARSE:
    case VIXDISKLIB_DISK_SPLIT_SPARSE:
        return measure_sparse(src, type == VIXDISKLIB_DISK_SPLIT_SPARSE, ret_required, ret_full, err);
    case VIXDISKLIB_DISK_MONOLITHIC_FLAT:
    case VIXDISKLIB_DISK_SPLIT_FLAT:
    case VIXDISKLIB_DISK_VMFS_FLAT:
        return measure_raw(src, true, ret_required, ret_full, err);
    case VIXDISKLIB_DISK_VMFS_THIN:
        return measure_raw(src, false, ret_required, ret_full, err);
    case VIXDISKLIB_DISK_VMFS_SPARSE:
        return measure_cowd(src, ret_required, ret_full, err);
    case VIXDISKLIB_DISK_STREAM_OPTIMIZED:
        return measure_stream(src, ret_required, ret_full, err);
    default:
        return err_set(err, VIX_E_INVALID_ARG, "disk type %d, allowed: %d to %d", (int)type,
                       VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_VMFS_SPARSE);
    }
}

static VixError own_type(struct disk *src, VixDiskLibDiskType *ret_type, struct err *err)
{
    struct disk_info info;
    VixError code = src->ops->info(src, &info, err);

    if (code == VIX_OK) {
        *ret_type = info.type;
        disk_info_done(&info);
    }
    return code;
}

VixError ops_measure(struct disk *src, VixDiskLibDiskType type, bool raw, uint64_t *ret_required, uint64_t *ret_full,
                     struct err *err)
{
    uint64_t required = 0;
    uint64_t full = 0;
    uint64_t descriptor = 0;
    VixError code = VIX_OK;

    if (src->sequential) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a stream can be read once only, not measured before", src->path);
    }
    if (raw) {
        return measure_raw(src, false, ret_required, ret_full, err);
    }
    if (type == VIXDISKLIB_DISK_UNKNOWN) {
        code = own_type(src, &type, err);
    }
    if (code == VIX_OK) {
        code = measure_type(src, type, &required, &full, err);
    }
    if (code == VIX_OK && type != VIXDISKLIB_DISK_MONOLITHIC_SPARSE && type != VIXDISKLIB_DISK_STREAM_OPTIMIZED) {
        code = descriptor_blocks(src, type, &descriptor, err);
    }
    if (code == VIX_OK) {
        *ret_required = required + descriptor;
        *ret_full = full + descriptor;
    }
    return code;
}
