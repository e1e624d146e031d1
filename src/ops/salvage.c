/* SPDX-License-Identifier: BSD-3-Clause */
/* salvage.c - what is left of a streamOptimized file whose end is missing, or whose tables cannot be trusted, as a disk
 * to read from. Each record names the sectors that it holds, so the file itself tells what is there: salvage_walk goes
 * through it when the disk is opened. The source is only read. Reads may run in parallel. */
#include "ops/salvage.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "ops/salvage_walk.h"
#include "vmdk/create.h"
#include "vmdk/stream_format.h"
#include "vmdk/stream_record.h"

struct salvage_disk {
    struct disk base;
    struct store *store;
    struct stream_file file; /* by hand: header and length, no tables */
    uint64_t grain_count;
    struct descriptor *desc; /* or NULL */
    struct salvage_records found;
    struct salvage_report report;
    pthread_mutex_t lock; /* what follows, report, and told of the records */
    struct stream_window *windows;
};

static struct salvage_disk *salvage_of(struct disk *d)
{
    return (struct salvage_disk *)d;
}

static uint64_t grain_sectors(const struct salvage_disk *s)
{
    return s->file.h.grain_sectors;
}

/* ---- reading ---- */

/** The first grain that is there at or behind this one; count if none is. */
static size_t lower_bound(const struct salvage_disk *s, uint64_t grain)
{
    size_t low = 0, high = s->found.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->found.at[middle].grain < grain) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static VixError take_window(struct salvage_disk *s, struct stream_window **ret_w, struct err *err)
{
    (void)pthread_mutex_lock(&s->lock);
    struct stream_window *w = s->windows;
    if (w != NULL) {
        s->windows = w->next;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (w == NULL) {
        return stream_window_new(&s->file, ret_w, err);
    }
    *ret_w = w;
    return VIX_OK;
}

static void give_window(struct salvage_disk *s, struct stream_window *w)
{
    SCOPED_LOCK(&s->lock);
    w->next = s->windows;
    s->windows = w;
}

/** Counts a grain whose data is damaged; it reads as zeros. */
static void lose(struct salvage_disk *s, struct salvage_record *record)
{
    SCOPED_LOCK(&s->lock);
    struct salvage_report *r = &s->report;

    if (record->told) {
        return;
    }
    record->told = true;
    r->grains -= record->state != SALVAGE_DAMAGED; /* was counted as one that is there */
    if (r->damaged_grains < SALVAGE_DAMAGED_MAX) {
        r->damaged[r->damaged_grains] = record->grain;
    }
    r->damaged_grains++;
}

static VixError read_grain(struct salvage_disk *s, struct stream_window *w, uint64_t grain, struct err *err)
{
    size_t i = lower_bound(s, grain);
    uint64_t bytes = grain_sectors(s) * SECTOR_SIZE;

    if (i == s->found.count || s->found.at[i].grain != grain) {
        memset(w->grain, 0, bytes);
        return VIX_OK;
    }
    struct salvage_record *r = &s->found.at[i];
    VixError code =
        r->state != SALVAGE_DAMAGED ? salvage_inflate(&s->file, w, r, w->grain, err) : VIX_E_DISK_NEEDSREPAIR;
    if (code == VIX_E_DISK_NEEDSREPAIR) {
        lose(s, r);
        memset(w->grain, 0, bytes);
        return VIX_OK;
    }
    return code;
}

static VixError salvage_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);
    struct stream_window *w;
    uint8_t *out = buf;
    VixError code = take_window(s, &w, err);

    if (code != VIX_OK) {
        return code;
    }
    while (code == VIX_OK && nsectors > 0) {
        uint64_t skip = sector % grain_sectors(s), n = min_u64(grain_sectors(s) - skip, nsectors);
        code = read_grain(s, w, sector / grain_sectors(s), err);
        if (code == VIX_OK) {
            memcpy(out, w->grain + skip * SECTOR_SIZE, n * SECTOR_SIZE);
        }
        out += n * SECTOR_SIZE;
        sector += n;
        nsectors -= n;
    }
    give_window(s, w);
    return code;
}

static VixError salvage_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags,
                            struct disk_run *ret_run, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);
    uint64_t grain = sector / grain_sectors(s);
    size_t i = lower_bound(s, grain), count = s->found.count;
    const struct salvage_record *found = s->found.at;
    bool present = i < count && found[i].grain == grain;
    uint64_t end = i < count ? found[i].grain : s->grain_count;

    (void)flags, (void)err;
    for (end = present ? grain + 1 : end; present && ++i < count && found[i].grain == end; end++) {
    }
    *ret_run = (struct disk_run){
        .sector = sector,
        .nsectors = min_u64(nsectors, end * grain_sectors(s) - sector),
        .present = present,
        .zero = !present,
        .path = present ? d->path : NULL,
    };
    return VIX_OK;
}

static VixError salvage_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    (void)sector, (void)nsectors, (void)buf;
    return err_set(err, VIX_E_FILE_READ_ONLY, "%s: what is salvaged can only be read", d->path);
}

static VixError salvage_pull(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                             struct err *err)
{
    (void)source, (void)ctx;
    return salvage_write(d, sector, nsectors, NULL, err);
}

static VixError salvage_flush(struct disk *d, struct err *err)
{
    (void)d, (void)err;
    return VIX_OK;
}

/* ---- what the descriptor tells ---- */

static VixError salvage_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);
    const char *value = s->desc != NULL ? descriptor_ddb_get(s->desc, key) : NULL;

    if (value == NULL) {
        return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: there is no key \"%s\"", d->path, key);
    }
    *ret_value = alloc_text(value, err);
    return *ret_value != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static VixError salvage_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    (void)key, (void)value;
    return salvage_write(d, 0, 0, NULL, err);
}

static VixError salvage_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);
    const char *key;
    size_t len = 0, room = 2;

    for (size_t i = 0; s->desc != NULL && (key = descriptor_ddb_key(s->desc, i)) != NULL; i++) {
        room += strlen(key) + 1;
    }
    char *keys = alloc_array(room, 1, err);
    if (keys == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; s->desc != NULL && (key = descriptor_ddb_key(s->desc, i)) != NULL; i++) {
        size_t n = strlen(key) + 1;
        memcpy(keys + len, key, n);
        len += n;
    }
    *ret_keys = keys;
    *ret_len = len + 1;
    return VIX_OK;
}

static VixError salvage_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);
    const char *word = s->desc != NULL ? descriptor_ddb_get(s->desc, "adapterType") : NULL;
    VixDiskLibAdapterType adapter = word != NULL ? adapter_of_word(word) : VIXDISKLIB_ADAPTER_UNKNOWN;
    struct disk_geometry geo = geometry_for(VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, d->capacity);

    (void)err;
    *ret_info = (struct disk_info){
        .type = VIXDISKLIB_DISK_STREAM_OPTIMIZED,
        .info = {.capacity = d->capacity,
                 .adapterType = adapter,
                 .numLinks = 1,
                 .physGeo = {.cylinders = geo.cylinders, .heads = geo.heads, .sectors = geo.sectors},
                 .logicalSectorSize = SECTOR_SIZE,
                 .physicalSectorSize = SECTOR_SIZE},
    };
    return VIX_OK;
}

/* ---- open and close ---- */

static VixError salvage_close(struct disk *d, struct err *err)
{
    struct salvage_disk *s = salvage_of(d);

    (void)err;
    while (s->windows != NULL) {
        struct stream_window *w = s->windows;
        s->windows = w->next;
        stream_window_free(w);
    }
    (void)pthread_mutex_destroy(&s->lock);
    descriptor_free(s->desc);
    store_close(s->store);
    free(s->found.at);
    free(s->base.path);
    free(s);
    return VIX_OK;
}

static const struct disk_ops salvage_ops = {
    .transport = "file",
    .read = salvage_read,
    .write = salvage_write,
    .pull = salvage_pull,
    .flush = salvage_flush,
    .map = salvage_map,
    .map_many = disk_map_one,
    .info = salvage_info,
    .meta_get = salvage_meta_get,
    .meta_set = salvage_meta_set,
    .meta_keys = salvage_meta_keys,
    .close = salvage_close,
};

/** The descriptor, if there is one that can be read: a disk can do without. */
static VixError load_descriptor(struct salvage_disk *s, struct err *err)
{
    const struct sparse_header *h = &s->file.h;
    uint64_t got = 0;

    if (h->descriptor_sector == 0 || h->descriptor_sectors == 0) {
        return VIX_OK;
    }
    CLEANUP_FREE char *text = alloc_array(h->descriptor_sectors, SECTOR_SIZE, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = store_read_some(s->store, text, h->descriptor_sectors * SECTOR_SIZE,
                                    h->descriptor_sector * SECTOR_SIZE, &got, err);
    if (code == VIX_OK && descriptor_parse(text, (size_t)got, s->base.path, &s->desc, NULL) == VIX_OK &&
        s->desc->capacity > 0 && s->desc->capacity < s->base.capacity) {
        s->base.capacity = s->desc->capacity;
    }
    return code;
}

static VixError load_header(struct salvage_disk *s, struct err *err)
{
    uint8_t sector[SECTOR_SIZE] = {0};
    uint64_t len = 0, got = 0;

    VixError code = s->store->ops->size(s->store, &len, err);
    if (code == VIX_OK) {
        code = store_read_some(s->store, sector, sizeof sector, 0, &got, err);
    }
    if (code == VIX_OK) {
        code = sparse_header_parse(sector, s->base.path, &s->file.h, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if ((s->file.h.flags & KDMV_FLAG_MARKERS) == 0 || s->file.h.capacity == 0) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: flags of the header are 0x%" PRIX32 ": its grains have no markers to find them by",
                       s->base.path, s->file.h.flags);
    }
    s->file.store = s->store;
    s->file.markers = true;
    atomic_store(&s->file.len, len);
    s->grain_count = div_up(s->file.h.capacity, grain_sectors(s));
    s->base.capacity = s->file.h.capacity;
    return load_descriptor(s, err);
}

static VixError salvage_setup(struct salvage_disk *s, struct store_fs *fs, const char *path, struct err *err)
{
    s->base.path = alloc_text(path, err);
    if (s->base.path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = fs->ops->open(fs, path, STORE_READ | STORE_LOCK, &s->store, err);
    if (code == VIX_OK) {
        code = load_header(s, err);
    }
    if (code == VIX_OK) {
        code = salvage_walk(&s->file, &s->found, &s->report, err);
        s->report.end_sector = min_u64(s->report.end_sector, s->base.capacity);
    }
    return code;
}

/** A file that begins with the header of a hosted sparse extent. */
static VixError open_stream(struct store_fs *fs, const char *path, struct disk **ret_disk, struct err *err)
{
    struct salvage_disk *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->base.ops = &salvage_ops;
    (void)pthread_mutex_init(&s->lock, NULL);
    VixError code = salvage_setup(s, fs, path, err);
    if (code != VIX_OK) {
        (void)salvage_close(&s->base, NULL);
        return code;
    }
    *ret_disk = &s->base;
    return VIX_OK;
}

/** What the first bytes of a file say. */
static VixError peek(struct store_fs *fs, const char *path, uint8_t *bytes, uint64_t max, uint64_t *ret_len,
                     struct err *err)
{
    struct store *store;
    VixError code = fs->ops->open(fs, path, STORE_READ, &store, err);

    if (code == VIX_OK) {
        code = store_read_some(store, bytes, max, 0, ret_len, err);
        store_close(store);
    }
    return code;
}

VixError salvage_open(struct store_fs *fs, const char *path, struct disk **ret_disk, struct err *err)
{
    uint8_t bytes[SECTOR_SIZE] = {0};
    uint64_t len = 0;
    VixError code = peek(fs, path, bytes, sizeof bytes, &len, err);

    if (code != VIX_OK) {
        return code;
    }
    if (get_le32(bytes) == KDMV_MAGIC) {
        return open_stream(fs, path, ret_disk, err);
    }
    if (descriptor_looks_like((const char *)bytes, (size_t)len) || get_le32(bytes) == COWD_MAGIC ||
        get_le64(bytes) == SESPARSE_MAGIC) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: only streamOptimized files and the data of flat disks can be salvaged", path);
    }
    return disk_open_raw(fs, path, VIXDISKLIB_FLAG_OPEN_READ_ONLY, ret_disk, err);
}

bool salvage_tell(struct disk *d, struct salvage_report *ret_report)
{
    if (d->ops != &salvage_ops) {
        return false;
    }
    struct salvage_disk *s = salvage_of(d);
    SCOPED_LOCK(&s->lock);
    *ret_report = s->report;
    ret_report->grain_sectors = grain_sectors(s);
    return true;
}
