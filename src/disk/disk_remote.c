/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_remote.c - an NFC connection as a disk: the entries of disk_ops over the queue of its requests, and the map of
 * what is allocated. The host is asked for the map in large windows. A window serves the walk that it was fetched for
 * and nothing else: a walk goes forward to the end that it named, and is told from others by that end and its place. */
#include "disk/disk_remote.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/disk_hardware.h"
#include "disk/disk_int.h"
#include "disk/read_ahead.h"
#include "disk/remote.h"

#define CHUNK_SECTORS 128u          /* the least that hosts tell apart */
#define WINDOW_CHUNKS (512u * 1024) /* the most of one question: 32 GiB */
#define WINDOW_AGE_S 10             /* own: s, then a map is asked for anew */
#define WALKS 4u                    /* at once on one disk */
#define BUSY_PIECES 24u             /* of half a MiB: 12 MiB under way */

/** A walk over the map, and the window that it is in. */
struct map_walk {
    uint64_t next; /* sector: where it goes on, or beyond */
    uint64_t end;  /* sector; 0: no walk */
    uint64_t first_chunk;
    uint32_t nchunks;
    uint64_t writes; /* of this disk when the window was fetched */
    time_t fetched;
    uint64_t used; /* for the choice of the one to give up */
    uint8_t *bitmap;
};

struct disk_remote {
    struct disk base;
    struct queue *queue;
    struct read_ahead *ahead; /* of a disk that is only read */
    struct disk_remote_params params;
    struct nfc_disk_info info;
    _Atomic uint64_t writes; /* begun so far */
    pthread_mutex_t map_lock;
    bool no_map; /* the host cannot tell */
    uint64_t map_uses;
    struct map_walk walks[WALKS];
};

static struct disk_remote *remote_of(struct disk *d)
{
    return (struct disk_remote *)d;
}

/* ---- reading and writing ---- */

static VixError nbd_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct disk_remote *r = remote_of(d);

    return r->ahead != NULL ? read_ahead_read(r->ahead, sector, nsectors, buf, err)
                            : queue_run(r->queue, false, sector, nsectors, buf, err);
}

static VixError nbd_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct disk_remote *r = remote_of(d);

    atomic_fetch_add(&r->writes, 1);
    return queue_run(r->queue, true, sector, nsectors, (void *)(uintptr_t)buf, err);
}

static void nbd_start(struct disk *d, struct disk_io *io)
{
    struct disk_remote *r = remote_of(d);

    if (io->write) {
        atomic_fetch_add(&r->writes, 1);
    }
    queue_start(r->queue, io);
}

static VixError call_flush(struct nfc_client *client, void *ctx, struct err *err)
{
    (void)ctx;
    return nfc_client_flush(client, err);
}

/** A host that has no message for it has a write where it belongs when it answers. */
static VixError nbd_flush(struct disk *d, struct err *err)
{
    struct disk_remote *r = remote_of(d);

    if (!d->writable) {
        return VIX_OK;
    }
    queue_wait_writes(r->queue);
    VixError code = queue_call(r->queue, call_flush, NULL, err);
    return code == VIX_E_NOT_SUPPORTED ? VIX_OK : code;
}

/* ---- the map ---- */

struct allocated_call {
    uint64_t chunk, start; /* bytes */
    uint32_t nchunks;
    uint8_t *bitmap;
};

static VixError call_allocated(struct nfc_client *client, void *ctx, struct err *err)
{
    const struct allocated_call *c = ctx;
    return nfc_client_allocated(client, c->chunk, c->start, c->nchunks, c->bitmap, err);
}

static time_t now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static bool in_window(const struct disk_remote *r, const struct map_walk *w, uint64_t sector)
{
    uint64_t chunk = sector / CHUNK_SECTORS;

    return chunk >= w->first_chunk && chunk < w->first_chunk + w->nchunks && w->writes == atomic_load(&r->writes) &&
           now_s() - w->fetched < WINDOW_AGE_S;
}

/** The walk that goes on at a sector, else a new one in the place of the one that was used longest ago. */
static struct map_walk *find_walk(struct disk_remote *r, uint64_t sector, uint64_t end)
{
    struct map_walk *oldest = &r->walks[0];

    for (unsigned i = 0; i < WALKS; i++) {
        struct map_walk *w = &r->walks[i];
        if (w->end == end && sector >= w->next && in_window(r, w, sector)) {
            return w;
        }
        if (w->used < oldest->used) {
            oldest = w;
        }
    }
    oldest->end = end;
    oldest->nchunks = 0;
    return oldest;
}

/** A host that cannot tell has everything allocated; only what has to do with the connection is a failure. */
static VixError judge_map_failure(struct disk_remote *r, VixError code, const struct err *err)
{
    if (code == VIX_E_HOST_TCP_CONN_LOST || code == VIX_E_OUT_OF_MEMORY || err_is_retryable(code)) {
        return code;
    }
    r->no_map = true;
    log_news("%s: the host cannot tell what is allocated, so everything is taken for data: %s", r->base.path,
             err->text);
    return VIX_OK;
}

/** Fetches the window that a sector is in, no further than to end. Leaves nchunks 0 where there is nothing to ask. */
static VixError fetch_window(struct disk_remote *r, struct map_walk *w, uint64_t sector, uint64_t end, struct err *err)
{
    uint64_t whole = r->base.capacity / CHUNK_SECTORS;
    uint64_t first = sector / CHUNK_SECTORS;
    uint64_t last = min_u64(div_up(end, CHUNK_SECTORS), whole);
    struct err own;

    w->nchunks = 0;
    if (first >= last) {
        return VIX_OK;
    }
    uint32_t n = (uint32_t)min_u64(last - first, WINDOW_CHUNKS);
    uint8_t *bitmap = realloc(w->bitmap, div_up(n, 32) * 4);
    if (bitmap == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "no memory for a map of %" PRIu32 " chunks", n);
    }
    w->bitmap = bitmap;
    w->writes = atomic_load(&r->writes);
    w->fetched = now_s();
    struct allocated_call call = {
        .chunk = CHUNK_SECTORS * SECTOR_SIZE,
        .start = first * CHUNK_SECTORS * SECTOR_SIZE,
        .nchunks = n,
        .bitmap = bitmap,
    };
    err_init(&own);
    VixError code = queue_call(r->queue, call_allocated, &call, &own);
    if (code == VIX_OK) {
        w->first_chunk = first;
        w->nchunks = n;
        return VIX_OK;
    }
    if (err != NULL) {
        *err = own;
    }
    return judge_map_failure(r, code, &own);
}

static bool bit_of(const struct map_walk *w, uint64_t chunk)
{
    uint64_t i = chunk - w->first_chunk;
    return (w->bitmap[i / 8] >> (i % 8) & 1) != 0;
}

/** The sector at which the chunks of a window stop being as the one of sector is. */
static uint64_t run_end(const struct map_walk *w, uint64_t sector, bool allocated)
{
    uint64_t chunk = sector / CHUNK_SECTORS;
    uint64_t end = w->first_chunk + w->nchunks;
    const uint8_t full = allocated ? 0xFF : 0;

    while (chunk < end && bit_of(w, chunk) == allocated) {
        uint64_t i = chunk - w->first_chunk;
        chunk += i % 8 == 0 && end - chunk >= 8 && w->bitmap[i / 8] == full ? 8 : 1;
    }
    return chunk * CHUNK_SECTORS;
}

/** What is beyond the last whole chunk, or not known, counts as allocated. */
static VixError nbd_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                        struct err *err)
{
    struct disk_remote *r = remote_of(d);
    uint64_t end = sector + nsectors;
    uint64_t stop = end;
    bool allocated = true;
    VixError code = VIX_OK;
    SCOPED_LOCK(&r->map_lock);

    (void)flags;
    if (!r->no_map) {
        struct map_walk *w = find_walk(r, sector, end);
        if (!in_window(r, w, sector)) {
            code = fetch_window(r, w, sector, end, err);
        }
        if (code == VIX_OK && w->nchunks > 0) {
            allocated = bit_of(w, sector / CHUNK_SECTORS);
            stop = min_u64(end, run_end(w, sector, allocated));
        }
        w->next = stop;
        w->used = ++r->map_uses;
    }
    if (code != VIX_OK) {
        return code;
    }
    *ret_run = (struct disk_run){.sector = sector,
                                 .nsectors = stop - sector,
                                 .present = allocated,
                                 .zero = !allocated,
                                 .path = allocated ? d->path : NULL};
    return VIX_OK;
}

/* ---- the disk database ---- */

struct meta_call {
    const char *key, *value;
    char **ret_text;
    size_t *ret_len;
};

static VixError call_meta_get(struct nfc_client *client, void *ctx, struct err *err)
{
    const struct meta_call *c = ctx;
    return nfc_client_meta_get(client, c->key, c->ret_text, err);
}

static VixError nbd_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    struct meta_call call = {.key = key, .ret_text = ret_value};
    return queue_call(remote_of(d)->queue, call_meta_get, &call, err);
}

static VixError call_meta_set(struct nfc_client *client, void *ctx, struct err *err)
{
    const struct meta_call *c = ctx;
    return nfc_client_meta_set(client, c->key, c->value, err);
}

static VixError nbd_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    struct meta_call call = {.key = key, .value = value};

    if (!d->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: key \"%s\" cannot be written: the disk is open for reading only",
                       d->path, key);
    }
    return queue_call(remote_of(d)->queue, call_meta_set, &call, err);
}

static VixError call_meta_keys(struct nfc_client *client, void *ctx, struct err *err)
{
    const struct meta_call *c = ctx;
    return nfc_client_meta_keys(client, c->ret_text, c->ret_len, err);
}

/* Keys that disks of ESXi have. */
static const char *const known_keys[] = {
    "adapterType",
    "geometry.cylinders",
    "geometry.heads",
    "geometry.sectors",
    "geometry.biosCylinders",
    "geometry.biosHeads",
    "geometry.biosSectors",
    "uuid",
    "longContentID",
    "virtualHWVersion",
    "toolsVersion",
    "toolsInstallType",
    "thinProvisioned",
    "logicalSectorSize",
    "physicalSectorSize",
    "encoding",
    "deletable",
    "iofilters",
    "sidecars",
    "isDigest",
    "isNativeLinkedClone",
    "resumeConsolidateSector",
    "KMFilters",
};

/** A host that does not list its keys is asked for each that is known. */
static VixError ask_known_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    size_t room = 1;
    size_t len = 0;

    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        room += strlen(known_keys[i]) + 1;
    }
    CLEANUP_FREE char *keys = alloc_zero(room, err);
    if (keys == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        CLEANUP_FREE char *value = NULL;
        VixError code = nbd_meta_get(d, known_keys[i], &value, err);
        if (code == VIX_OK) {
            size_t n = strlen(known_keys[i]) + 1;
            memcpy(keys + len, known_keys[i], n);
            len += n;
        } else if (code != VIX_E_DISK_KEY_NOTFOUND) {
            return code;
        }
    }
    *ret_keys = TAKE_PTR(keys);
    *ret_len = len + 1;
    return VIX_OK;
}

static VixError nbd_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    struct meta_call call = {.ret_text = ret_keys, .ret_len = ret_len};
    VixError code = queue_call(remote_of(d)->queue, call_meta_keys, &call, err);

    return code == VIX_E_NOT_SUPPORTED ? ask_known_keys(d, ret_keys, ret_len, err) : code;
}

static VixError nbd_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    const struct disk_remote *r = remote_of(d);
    struct disk_info info;
    VixError code = disk_info_from_meta(d, &info, err);

    if (code != VIX_OK) {
        return code;
    }
    info.info.numLinks = r->params.links;
    info.type = r->params.type;
    code = disk_hardware_add(d->hardware, &info.info, err);
    if (code != VIX_OK) {
        disk_info_done(&info);
        return code;
    }
    if (r->info.cylinders > 0 && r->info.heads > 0 && r->info.sectors > 0) {
        info.info.physGeo =
            (VixDiskLibGeometry){.cylinders = r->info.cylinders, .heads = r->info.heads, .sectors = r->info.sectors};
    }
    *ret_info = info;
    return VIX_OK;
}

/* ---- the disk ---- */

static void free_disk(struct disk_remote *r)
{
    for (unsigned i = 0; i < WALKS; i++) {
        free(r->walks[i].bitmap);
    }
    (void)pthread_mutex_destroy(&r->map_lock);
    disk_hardware_free(r->params.hardware);
    free(r->base.path);
    free(r);
}

static VixError nbd_close(struct disk *d, struct err *err)
{
    struct disk_remote *r = remote_of(d);
    uint64_t in = 0;
    uint64_t out = 0;
    VixError code = VIX_OK;

    if (d->writable && atomic_load(&r->writes) > 0) {
        code = nbd_flush(d, err);
    }
    read_ahead_free(r->ahead);
    queue_traffic(r->queue, &in, &out);
    r->params.closes(r->params.queue.ctx, d, in, out);
    queue_free(r->queue);
    r->params.closed(r->params.queue.ctx, d);
    free_disk(r);
    return code;
}

#define NBD_OPS(name)                                                                                                  \
    {                                                                                                                  \
        .transport = (name), .read = nbd_read, .write = nbd_write, .start = nbd_start, .pull = disk_no_pull,           \
        .flush = nbd_flush, .discard = disk_no_discard, .map = nbd_map, .map_many = disk_map_one, .info = nbd_info,    \
        .meta_get = nbd_meta_get, .meta_set = nbd_meta_set, .meta_keys = nbd_meta_keys, .close = nbd_close,            \
    }

static const struct disk_ops nbd_ops = NBD_OPS("nbd");
static const struct disk_ops nbdssl_ops = NBD_OPS("nbdssl");

VixError disk_remote_new(const struct disk_remote_params *params, struct nfc_client *client,
                         const struct nfc_disk_info *info, struct disk **ret_disk, struct err *err)
{
    struct disk_remote *r = alloc_zero(sizeof *r, err);
    char *path = alloc_text(params->queue.path, err);

    if (r == NULL || path == NULL) {
        free(r);
        free(path);
        disk_hardware_free(params->hardware);
        nfc_client_close(client);
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = queue_new(&params->queue, client, &r->queue, err);
    if (code == VIX_OK && !params->queue.writable) {
        code = read_ahead_new(r->queue, info->capacity / SECTOR_SIZE, &r->ahead, err);
    }
    if (code != VIX_OK) {
        queue_free(r->queue);
        free(r);
        free(path);
        disk_hardware_free(params->hardware);
        return code;
    }
    r->base = (struct disk){
        .ops = params->ssl ? &nbdssl_ops : &nbd_ops,
        .path = path,
        .capacity = info->capacity / SECTOR_SIZE,
        .writable = params->queue.writable,
        .remote = true,
        .parent_closed = params->parent_closed,
        .hardware = params->hardware,
        .starts = true,
        .busy_pieces = BUSY_PIECES,
    };
    r->params = *params;
    r->params.queue.path = path;
    r->info = *info;
    (void)pthread_mutex_init(&r->map_lock, NULL);
    *ret_disk = &r->base;
    return VIX_OK;
}

static bool is_nfc(const struct disk *d)
{
    return d->ops == &nbd_ops || d->ops == &nbdssl_ops;
}

void disk_remote_traffic(struct disk *d, uint64_t *ret_in, uint64_t *ret_out)
{
    *ret_in = 0;
    *ret_out = 0;
    if (is_nfc(d)) {
        queue_traffic(remote_of(d)->queue, ret_in, ret_out);
    }
}
