/* SPDX-License-Identifier: BSD-3-Clause */
/* The whole-disk operations of vixDiskLibExt.h: convert, compare, measure, map. */
#include "api/api.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "base/config.h"
#include "ops/ops.h"
#include "ops/salvage.h"
#include "store/store.h"

struct bytes_progress {
    VixDiskLibExt_ProgressFunc func;
    void *data;
};

static bool tell_bytes(void *ctx, uint64_t done, uint64_t total)
{
    const struct bytes_progress *p = ctx;
    return p->func(p->data, done, total) != 0;
}

static struct ops_progress progress_of(struct bytes_progress *p)
{
    return (struct ops_progress){.func = p->func != NULL ? tell_bytes : NULL, .ctx = p};
}

/** The client's struct in the size that this library knows: a shorter one is of an older header, the rest is zeros. */
static VixError read_params(const VixDiskLibExt_ConvertParams *from, VixDiskLibExt_ConvertParams *ret_params,
                            struct err *err)
{
    VixDiskLibExt_ConvertParams p = {0};

    if (from == NULL || from->structSize < offsetof(VixDiskLibExt_ConvertParams, diskType)) {
        return err_set(err, VIX_E_INVALID_ARG, "no description of the target is given, or its structSize is not set");
    }
    memcpy(&p, from, min_u64(from->structSize, sizeof p));
    *ret_params = p;
    return VIX_OK;
}

static struct convert_target target_of(const char *path, const VixDiskLibExt_ConvertParams *p)
{
    return (struct convert_target){
        .path = path,
        .fd = path == NULL ? p->fd : -1,
        .raw = p->raw != 0,
        .overwrite = p->overwrite != 0,
        .keep_existing = p->keepExisting != 0,
        .target_is_zero = p->targetIsZero != 0,
        .params = {.type = p->diskType,
                   .adapter = p->adapterType,
                   .hw_version = p->hwVersion,
                   .allow_over_2tb = config_bool(CONFIG_ALLOW_OVER_2TB, false)},
        .tuning = {.level = p->level, .threads = p->threads},
    };
}

static VixError convert(struct api_call *call, struct disk *src, const char *dst_path,
                        const VixDiskLibExt_ConvertParams *params, struct bytes_progress *told)
{
    VixDiskLibExt_ConvertParams p = {0};
    VixError code = read_params(params, &p, &call->err);

    if (code == VIX_OK && dst_path != NULL) {
        call->place = dst_path;
    }
    if (code == VIX_OK) {
        struct convert_target target = target_of(dst_path, &p);
        code = ops_convert(store_fs_local(), src, &target, progress_of(told), &call->err);
    }
    return code;
}

VixError VixDiskLibExt_Convert(VixDiskLibHandle src, const char *dstPath, const VixDiskLibExt_ConvertParams *params,
                               VixDiskLibExt_ProgressFunc progress, void *data)
{
    struct api_call call;
    struct disk *d;
    struct bytes_progress told = {.func = progress, .data = data};

    VixError code = call_on_disk(&call, __func__, src, &d);
    if (code == VIX_OK) {
        code = convert(&call, d, dstPath, params, &told);
    }
    return call_end(&call, code);
}

static VixError convert_to_server(struct api_call *call, struct disk *src, const struct connection *to, uint32_t flags,
                                  const VixDiskLibExt_ConvertParams *params, struct bytes_progress *told)
{
    VixDiskLibExt_ConvertParams p = {0};
    VixError code = read_params(params, &p, &call->err);

    if (code == VIX_OK && p.raw) {
        code = err_set(&call->err, VIX_E_INVALID_ARG, "%s: a raw image cannot be made on a datastore", call->place);
    }
    if (code != VIX_OK) {
        return code;
    }
    const struct server_copy copy = {
        .to = to,
        .path = call->place,
        .flags = flags,
        .type = p.diskType,
        .adapter = p.adapterType,
        .overwrite = p.overwrite != 0,
        .keep_existing = p.keepExisting != 0,
        .target_is_zero = p.targetIsZero != 0,
        .threads = p.threads,
    };
    return copy_to_server(src, connection_of_disk(call->pins[0]), &copy, progress_of(told), &call->err);
}

VixError VixDiskLibExt_ConvertTo(VixDiskLibHandle src, VixDiskLibConnection dstConnection, const char *dstPath,
                                 uint32 flags, const VixDiskLibExt_ConvertParams *params,
                                 VixDiskLibExt_ProgressFunc progress, void *data)
{
    struct api_call call;
    struct disk *d;
    struct connection *c;
    struct bytes_progress told = {.func = progress, .data = data};

    VixError code = call_on_disk(&call, __func__, src, &d);
    if (code == VIX_OK) {
        code = call_add_connection(&call, dstConnection, &c);
    }
    if (code == VIX_OK) {
        call.place = dstPath;
        code = path_check(c, dstPath, &call.err);
    }
    if (code == VIX_OK) {
        code = c->remote != NULL ? convert_to_server(&call, d, c, flags, params, &told)
                                 : convert(&call, d, dstPath, params, &told);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Compare(VixDiskLibHandle a, VixDiskLibHandle b, VixDiskLibExt_ProgressFunc progress, void *data,
                               VixDiskLibSectorType *firstDifferent, VixDiskLibSectorType *numDifferent)
{
    struct api_call call;
    struct disk *da;
    struct disk *db;
    struct bytes_progress told = {.func = progress, .data = data};
    uint64_t first;
    uint64_t count;

    VixError code = call_on_disk(&call, __func__, a, &da);
    if (code == VIX_OK) {
        code = call_add_disk(&call, b, &db);
    }
    if (code == VIX_OK) {
        code = ops_compare(da, db, progress_of(&told), &first, &count, &call.err);
    }
    if (code == VIX_OK && firstDifferent != NULL) {
        *firstDifferent = first;
    }
    if (code == VIX_OK && numDifferent != NULL) {
        *numDifferent = count;
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Measure(VixDiskLibHandle diskHandle, VixDiskLibDiskType diskType, Bool raw,
                               uint64 *requiredBytes, uint64 *fullBytes)
{
    struct api_call call;
    struct disk *d;
    uint64_t required;
    uint64_t full;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = ops_measure(d, diskType, raw != 0, &required, &full, &call.err);
    }
    if (code == VIX_OK && requiredBytes != NULL) {
        *requiredBytes = required;
    }
    if (code == VIX_OK && fullBytes != NULL) {
        *fullBytes = full;
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Commit(VixDiskLibConnection connection, const char *childPath,
                              VixDiskLibExt_ProgressFunc progress, void *data)
{
    struct api_call call;
    struct connection *c;
    struct bytes_progress told = {.func = progress, .data = data};

    VixError code = call_on_connection(&call, __func__, childPath, connection, &c);
    if (code == VIX_OK) {
        code = need_local(c, "children are merged", &call.err);
    }
    if (code == VIX_OK) {
        code = local_path_check(childPath, &call.err);
    }
    if (code == VIX_OK && c->read_only) {
        code = err_set(&call.err, VIX_E_FILE_READ_ONLY, "the connection is read-only");
    }
    if (code == VIX_OK) {
        code = ops_commit(store_fs_local(), childPath, progress_of(&told), &call.err);
    }
    return call_end(&call, code);
}

static VixDiskLibExt_Run public_run(const struct disk_run *run)
{
    return (VixDiskLibExt_Run){
        .startBytes = run->sector * VIXDISKLIB_SECTOR_SIZE,
        .lengthBytes = run->nsectors * VIXDISKLIB_SECTOR_SIZE,
        .offsetBytes = run->has_offset ? run->file_off : 0,
        .file = run->path,
        .depth = run->depth,
        .present = run->present,
        .zero = run->zero,
        .data = run->present && !run->zero,
        .hasOffset = run->has_offset,
    };
}

static VixError check_range(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    uint64_t end;

    if (!checked_add(sector, nsectors, &end) || end > d->capacity) {
        return err_set(err, VIX_E_DISK_OUTOFRANGE,
                       "%" PRIu64 " sectors at sector %" PRIu64 " reach beyond the capacity of %" PRIu64 " sectors",
                       nsectors, sector, d->capacity);
    }
    return VIX_OK;
}

static VixError map_range(struct disk *d, uint64_t sector, uint64_t nsectors, VixDiskLibExt_RunFunc func, void *data,
                          struct err *err)
{
    uint64_t end = sector + nsectors;
    VixError code = check_range(d, sector, nsectors, err);

    if (code != VIX_OK) {
        return code;
    }
    while (sector < end) {
        struct disk_run run;
        code = d->ops->map(d, sector, end - sector, EXTENT_MAP_FLAT_HOLES, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        VixDiskLibExt_Run told = public_run(&run);
        if (func(data, &told) == 0) {
            return VIX_OK;
        }
        sector += run.nsectors;
    }
    return VIX_OK;
}

VixError VixDiskLibExt_StoredBytes(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                   VixDiskLibSectorType numSectors, uint64 *storedBytes)
{
    struct api_call call;
    struct disk *d;
    uint64_t bytes = 0;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, storedBytes, "place for the number of bytes");
    }
    if (code == VIX_OK) {
        code = check_range(d, startSector, numSectors, &call.err);
    }
    if (code == VIX_OK && disk_local_chain(d) == NULL) {
        code = err_set(&call.err, VIX_E_NOT_SUPPORTED, "%s: only local VMDKs tell what their grains take", d->path);
    }
    if (code == VIX_OK) {
        code = chain_stored_bytes(disk_local_chain(d), startSector, numSectors, &bytes, &call.err);
    }
    if (code == VIX_OK) {
        *storedBytes = bytes;
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Map(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                           VixDiskLibSectorType numSectors, VixDiskLibExt_RunFunc func, void *data)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && func == NULL) {
        code = call_need(&call, NULL, "function to tell the runs to");
    }
    if (code == VIX_OK) {
        code = map_range(d, startSector, numSectors, func, data, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Discard(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                               VixDiskLibSectorType numSectors)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = disk_discard(d, startSector, numSectors, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_WriteZeros(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                  VixDiskLibSectorType numSectors)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = ops_write_zeros(d, startSector, numSectors, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_SalvageReport(VixDiskLibHandle diskHandle, VixDiskLibExt_Salvage *salvage)
{
    struct api_call call;
    struct disk *d;
    struct salvage_report r;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = call_need(&call, salvage, "place for the report");
    }
    if (code == VIX_OK && !salvage_tell(d, &r)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "%s: not a salvaged streamOptimized disk", d->path);
    }
    if (code != VIX_OK) {
        return call_end(&call, code);
    }
    VixDiskLibExt_Salvage all = {.structSize = salvage->structSize,
                                 .grainSectors = (uint32)r.grain_sectors,
                                 .grains = r.grains,
                                 .endSector = r.end_sector,
                                 .skippedBytes = r.skipped_bytes,
                                 .damagedGrains = r.damaged_grains,
                                 .wrongSizes = r.wrong_sizes,
                                 .strayRecords = r.stray_records};
    for (size_t i = 0; i < VIXDISKLIBEXT_SALVAGE_DAMAGED && i < r.damaged_grains; i++) {
        all.damagedSectors[i] = r.damaged[i] * r.grain_sectors;
    }
    memcpy(salvage, &all, min_u64(salvage->structSize, sizeof all));
    return call_end(&call, VIX_OK);
}
