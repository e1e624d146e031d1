/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_lvm.c - the LUNs of a volume put together: the headers of the volume manager and its table of physical extents,
 * which say where each piece of the volume is. A wrong map would show the data of others, so all LUNs must be there and
 * the pieces must leave no gap. */
#include "vmfs/vmfs_int.h"

#define LVM_OFF MIB /* of the header, from the partition's beginning */
#define LVM_MAGIC 0xC001D00Du
#define LVM_HEADER 0x200u
#define LVM_MAX_MAPS 64u /* limit: maps of extents of a LUN */
#define PE_SIZE 128u
#define PES_PER_MAP 8192u
#define MAP_BYTES (PE_SIZE * PES_PER_MAP)
#define VOLUME_DESCRIPTOR 512u
#define PE_BYTES (UINT64_C(256) * MIB) /* of each physical extent, on all volumes seen */

/** What one LUN says. */
struct device {
    size_t lun;
    const char *path;
    uint64_t part_off, part_len;
    uint32_t major, maps;
    uint32_t md; /* LVM 6 */
    uint64_t data_off;
    uint8_t volume_uuid[VMFS_UUID_SIZE];
    uint32_t volume_id, devices;
    uint64_t first_pe, last_pe;
};

struct segments {
    struct vmfs_segment *list;
    size_t count, room;
};

static VixError device_read(const struct vmfs *v, const struct device *d, void *buf, uint64_t len, uint64_t off,
                            struct err *err)
{
    VixError code = store_read(v->luns[d->lun], buf, len, d->part_off + LVM_OFF + off, err);

    if (code != VIX_OK) {
        err_prefix(err, "header of the volume manager: ");
    }
    return code;
}

static VixError parse_header(const struct vmfs *v, struct device *d, struct err *err)
{
    uint8_t h[LVM_HEADER];

    VixError code = device_read(v, d, h, sizeof h, 0, err);
    if (code != VIX_OK) {
        return code;
    }
    if (get_le32(h) != LVM_MAGIC) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: no VMFS: magic 0x%08" PRIx32 " at offset %" PRIu64 ", allowed: 0x%08x", d->path,
                       get_le32(h), d->part_off + LVM_OFF, LVM_MAGIC);
    }
    d->major = get_le32(h + 4);
    if (d->major < 3 || d->major > 6) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: volume manager of version %" PRIu32 ", known: 3 to 6", d->path,
                       d->major);
    }
    if (get_le64(h + 0xC2) != 0) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: the map of extents goes on in a second header, which is not known", d->path);
    }
    d->data_off = get_le64(h + 0x7A);
    d->maps = get_le32(h + 0xBE) != 0 ? get_le32(h + 0xBE) : 1;
    d->md = d->major >= 6 ? get_le32(h + 0xCA) : 512;
    if (d->maps > LVM_MAX_MAPS || !is_power_of_two(d->md) || d->md < 512 || d->md > 65536) {
        return vmfs_corrupt(err,
                            "%s: %" PRIu32 " maps of extents, blocks of %" PRIu32
                            " bytes; allowed: up to %u, powers of two from 512 to 65536",
                            d->path, d->maps, d->md, LVM_MAX_MAPS);
    }
    return VIX_OK;
}

static VixError parse_volume(const struct vmfs *v, struct device *d, struct err *err)
{
    uint8_t h[VOLUME_DESCRIPTOR];

    VixError code = device_read(v, d, h, sizeof h, d->major >= 6 ? d->md : 0x200, err);
    if (code != VIX_OK) {
        return code;
    }
    memcpy(d->volume_uuid, h + 0x54, VMFS_UUID_SIZE);
    d->volume_id = get_le32(h + 0x70);
    d->first_pe = get_le64(h + 0x78);
    d->last_pe = get_le64(h + 0x80);
    d->devices = get_le32(h + 0x90);
    if (d->devices == 0 || d->devices > VMFS_MAX_LUNS || d->last_pe < d->first_pe || d->last_pe == UINT64_MAX) {
        return vmfs_corrupt(err,
                            "%s: the volume has %" PRIu32 " LUNs, here extents %" PRIu64 " to %" PRIu64
                            "; allowed: 1 to %u LUNs, ascending extents",
                            d->path, d->devices, d->first_pe, d->last_pe, VMFS_MAX_LUNS);
    }
    return VIX_OK;
}

/* ---- physical extents ---- */

static VixError add_segment(struct segments *s, const struct vmfs_segment *segment, struct err *err)
{
    if (s->count == s->room) {
        size_t room = s->room > 0 ? s->room * 2 : 64;
        struct vmfs_segment *list = alloc_array(room, sizeof *list, err);
        if (list == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (s->count > 0) {
            memcpy(list, s->list, s->count * sizeof *list);
        }
        free(s->list);
        s->list = list;
        s->room = room;
    }
    s->list[s->count++] = *segment;
    return VIX_OK;
}

static VixError take_pe(const struct device *d, const uint8_t *e, uint64_t number, struct segments *s, struct err *err)
{
    uint64_t physical = get_le64(e + 9);
    struct vmfs_segment segment = {.lun = d->lun, .off = get_le64(e + 0x11), .len = get_le64(e + 0x19)};
    uint64_t end;

    if (e[0] == 0 || get_le32(e + 5) != d->volume_id) {
        return VIX_OK;
    }
    if (segment.len == 0 || !checked_add(physical, segment.len, &end) || end > d->part_len ||
        !checked_add(segment.off, segment.len, &end) || end > INT64_MAX) {
        return vmfs_corrupt(err,
                            "%s: physical extent %" PRIu64 " is %" PRIu64 " bytes at %" PRIu64 " for %" PRIu64
                            " of the volume; the partition has %" PRIu64 " bytes",
                            d->path, number, segment.len, physical, segment.off, d->part_len);
    }
    segment.lun_off = d->part_off + physical;
    return add_segment(s, &segment, err);
}

static VixError read_pes(const struct vmfs *v, const struct device *d, struct segments *s, struct err *err)
{
    CLEANUP_FREE uint8_t *table = alloc_array(1, MAP_BYTES, err);
    uint64_t bitmap = d->major >= 6 ? max_u64(d->md, 1024) : 1024;
    uint64_t first = d->major >= 6 ? 0x80000 + (uint64_t)d->md : 0x80200;
    VixError code = table != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint32_t map = 0; map < d->maps && code == VIX_OK; map++) {
        code = device_read(v, d, table, MAP_BYTES, first + map * (bitmap + MAP_BYTES) + bitmap, err);
        for (uint32_t i = 0; i < PES_PER_MAP && code == VIX_OK; i++) {
            code = take_pe(d, table + (size_t)i * PE_SIZE, (uint64_t)map * PES_PER_MAP + i, s, err);
        }
    }
    return code;
}

/** The extents of a LUN as they are on all volumes seen: one after the other, from where the header says. */
static VixError guess_pes(const struct device *d, struct segments *s, struct err *err)
{
    struct vmfs_segment all = {.lun = d->lun};
    uint64_t end;

    if (!checked_mul(d->first_pe, PE_BYTES, &all.off) ||
        !checked_mul(d->last_pe - d->first_pe + 1, PE_BYTES, &all.len) || !checked_add(all.off, all.len, &end) ||
        end > INT64_MAX || !checked_add(d->data_off, all.len, &end) || end > d->part_len) {
        return vmfs_corrupt(err,
                            "%s: extents %" PRIu64 " to %" PRIu64 " of the volume from %" PRIu64
                            " on do not fit into a partition of %" PRIu64 " bytes",
                            d->path, d->first_pe, d->last_pe, d->data_off, d->part_len);
    }
    all.lun_off = d->part_off + d->data_off;
    return add_segment(s, &all, err);
}

/** From the table; where that cannot be read, as it must be. */
static VixError collect_pes(struct vmfs *v, const struct device *d, struct segments *s, struct err *err)
{
    size_t before = s->count;
    VixError code = read_pes(v, d, s, err);

    if (code == VIX_E_FILE_ERROR) {
        s->count = before;
        v->info.guessed = true;
        code = guess_pes(d, s, err);
    }
    return code;
}

static int compare_segments(const void *a, const void *b)
{
    const struct vmfs_segment *x = a, *y = b;
    return x->off < y->off ? -1 : x->off > y->off;
}

/** Puts the pieces in order and joins those that lie together. */
static VixError join_segments(struct vmfs *v, struct segments *s, struct err *err)
{
    uint64_t end = 0;
    size_t kept = 0;

    if (s->count > 0) {
        qsort(s->list, s->count, sizeof *s->list, compare_segments);
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct vmfs_segment *next = &s->list[i];
        struct vmfs_segment *last = kept > 0 ? &s->list[kept - 1] : NULL;
        if (next->off != end) {
            return vmfs_corrupt(err, "%s: the volume has a piece at %" PRIu64 " where one at %" PRIu64 " must follow",
                                v->luns[next->lun]->path, next->off, end);
        }
        end += next->len;
        if (last != NULL && last->lun == next->lun && last->lun_off + last->len == next->lun_off) {
            last->len += next->len;
        } else {
            s->list[kept++] = *next;
        }
    }
    if (kept == 0) {
        return vmfs_corrupt(err, "%s: the volume has no physical extents", v->luns[0]->path);
    }
    v->segments = s->list;
    v->segment_count = kept;
    v->info.size = end;
    s->list = NULL;
    return VIX_OK;
}

/* ---- all LUNs ---- */

static int compare_devices(const void *a, const void *b)
{
    const struct device *x = a, *y = b;
    return x->first_pe < y->first_pe ? -1 : x->first_pe > y->first_pe;
}

static VixError check_devices(struct device *devices, size_t count, struct err *err)
{
    uint64_t next = 0;

    qsort(devices, count, sizeof *devices, compare_devices);
    for (size_t i = 0; i < count; i++) {
        const struct device *d = &devices[i];
        if (memcmp(d->volume_uuid, devices[0].volume_uuid, VMFS_UUID_SIZE) != 0) {
            return err_set(err, VIX_E_NOT_SUPPORTED, "%s and %s are LUNs of different volumes", devices[0].path,
                           d->path);
        }
        if (d->devices != count) {
            return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the volume is on %" PRIu32 " LUNs, %zu are here", d->path,
                           d->devices, count);
        }
        if (d->first_pe != next) {
            return vmfs_corrupt(err, "%s: begins with extent %" PRIu64 " of the volume, %" PRIu64 " must follow",
                                d->path, d->first_pe, next);
        }
        next = d->last_pe + 1;
    }
    return VIX_OK;
}

static VixError read_device(struct vmfs *v, const struct vmfs_lun *lun, size_t index, struct device *d, struct err *err)
{
    d->lun = index;
    d->path = lun->store->path;
    VixError code = vmfs_find_partition(lun, &d->part_off, &d->part_len, err);

    if (code == VIX_OK) {
        code = parse_header(v, d, err);
    }
    return code == VIX_OK ? parse_volume(v, d, err) : code;
}

VixError vmfs_assemble(struct vmfs *v, const struct vmfs_lun *luns, size_t count, struct err *err)
{
    struct device devices[VMFS_MAX_LUNS] = {0};
    struct segments s = {0};
    VixError code = VIX_OK;

    if (count == 0 || count > VMFS_MAX_LUNS) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "a datastore of %zu LUNs, allowed: 1 to %u", count, VMFS_MAX_LUNS);
    }
    v->lun_count = count;
    for (size_t i = 0; i < count && code == VIX_OK; i++) {
        v->luns[i] = luns[i].store;
        code = read_device(v, &luns[i], i, &devices[i], err);
    }
    if (code == VIX_OK) {
        code = check_devices(devices, count, err);
    }
    for (size_t i = 0; i < count && code == VIX_OK; i++) {
        code = collect_pes(v, &devices[i], &s, err);
    }
    if (code == VIX_OK) {
        memcpy(v->volume_uuid, devices[0].volume_uuid, VMFS_UUID_SIZE);
        code = join_segments(v, &s, err);
    }
    free(s.list);
    return code;
}
