/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_stream.c - a streamOptimized disk that comes out of a pipe, as a disk that is read once, in ascending order. Its
 * descriptor stands in front, so its disk database is known. A mutex keeps readers apart; in order they must be by
 * themselves. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "disk/disk_int.h"
#include "vmdk/stream_reader.h"

struct disk_stream {
    struct disk base;
    pthread_mutex_t lock;
    struct stream_reader *reader;
    struct descriptor *desc;
    int fd; /* the caller's */
    uint64_t read_bytes;
};

static VixError read_input(void *ctx, void *buf, uint64_t len, uint64_t *ret_len, struct err *err)
{
    struct disk_stream *s = ctx;
    VixError code = disk_read_fd(s->fd, buf, len, ret_len, s->base.path, s->read_bytes, err);

    if (code == VIX_OK) {
        s->read_bytes += *ret_len;
    }
    return code;
}

static VixError stream_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct disk_stream *s = (struct disk_stream *)d;
    SCOPED_LOCK(&s->lock);

    VixError code = stream_reader_read(s->reader, sector, nsectors, buf, err);
    if (code == VIX_OK && sector + nsectors == d->capacity) {
        /* what stands behind the last grain tells whether the stream is whole */
        code = stream_reader_finish(s->reader, err);
    }
    return code;
}

static VixError stream_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                           struct err *err)
{
    (void)flags, (void)err;
    *ret_run = (struct disk_run){.sector = sector, .nsectors = nsectors, .present = true, .path = d->path};
    return VIX_OK;
}

static VixError stream_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    const char *value = descriptor_ddb_get(((struct disk_stream *)d)->desc, key);

    if (value == NULL) {
        return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: the disk database has no key \"%s\"", d->path, key);
    }
    char *copy = alloc_text(value, err);
    if (copy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_value = copy;
    return VIX_OK;
}

/** Whether a key stands earlier too: the first one counts. */
static bool is_repeated(const struct descriptor *desc, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (text_equal_nocase(descriptor_ddb_key(desc, i), descriptor_ddb_key(desc, index))) {
            return true;
        }
    }
    return false;
}

static VixError stream_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    const struct descriptor *desc = ((struct disk_stream *)d)->desc;
    size_t len = 1;
    const char *key;

    for (size_t i = 0; (key = descriptor_ddb_key(desc, i)) != NULL; i++) {
        len += is_repeated(desc, i) ? 0 : strlen(key) + 1;
    }
    char *keys = alloc_zero(len, err);
    if (keys == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    char *at = keys;
    for (size_t i = 0; (key = descriptor_ddb_key(desc, i)) != NULL; i++) {
        if (!is_repeated(desc, i)) {
            memcpy(at, key, strlen(key) + 1);
            at += strlen(key) + 1;
        }
    }
    *ret_keys = keys;
    *ret_len = len;
    return VIX_OK;
}

static VixError stream_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    VixError code = disk_info_from_meta(d, ret_info, err);

    if (code == VIX_OK) {
        ret_info->type = VIXDISKLIB_DISK_STREAM_OPTIMIZED;
    }
    return code;
}

static VixError stream_close(struct disk *d, struct err *err)
{
    struct disk_stream *s = (struct disk_stream *)d;

    (void)err;
    stream_reader_close(s->reader);
    descriptor_free(s->desc);
    (void)pthread_mutex_destroy(&s->lock);
    free(d->path);
    free(d);
    return VIX_OK;
}

static const struct disk_ops stream_disk_ops = {
    .transport = "file",
    .read = stream_read,
    .write = disk_no_write,
    .start = disk_no_start,
    .pull = disk_no_pull,
    .flush = disk_no_flush,
    .discard = disk_no_discard,
    .map = stream_map,
    .map_many = disk_map_one,
    .info = stream_info,
    .meta_get = stream_meta_get,
    .meta_set = disk_no_meta_set,
    .meta_keys = stream_meta_keys,
    .close = stream_close,
};

/** Grains are not enough for a disk whose rest or key is elsewhere. */
static VixError check_alone(const struct disk_stream *s, struct err *err)
{
    if (s->desc->encrypted) {
        return err_set(err, VIX_E_DISK_NEEDKEY, "%s: the disk is encrypted", s->base.path);
    }
    if (s->desc->parent_cid != CID_NO_PARENT) {
        return err_set(err, VIX_E_DISK_NOTSUPPORTED,
                       "%s: the disk has a parent (content ID %08" PRIx32 "), which a stream cannot bring",
                       s->base.path, s->desc->parent_cid);
    }
    return VIX_OK;
}

/** Reads what stands in front of the grains. The descriptor is the disk's size and database; the header's capacity may
 * be rounded up to whole grains. */
static VixError begin(struct disk_stream *s, unsigned threads, struct err *err)
{
    const struct stream_input in = {.read = read_input, .ctx = s, .name = s->base.path};
    size_t len = 0;
    VixError code = stream_reader_open(&in, threads, &s->reader, err);

    if (code != VIX_OK) {
        return code;
    }
    const char *text = stream_reader_descriptor(s->reader, &len);
    code = descriptor_parse(text, len, s->base.path, &s->desc, err);
    if (code == VIX_OK) {
        code = check_alone(s, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    uint64_t most = stream_reader_header(s->reader)->capacity;
    if (s->desc->extent_count != 1 || s->desc->capacity == 0 || s->desc->capacity > most) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor has %zu extents of %" PRIu64 " sectors together, expected one of at most "
                       "%" PRIu64 ", the header's",
                       s->base.path, s->desc->extent_count, s->desc->capacity, most);
    }
    s->base.capacity = s->desc->capacity;
    return VIX_OK;
}

VixError disk_open_stream_in(int fd, unsigned threads, struct disk **ret_disk, struct err *err)
{
    struct disk_stream *s = alloc_zero(sizeof *s, err);

    if (s == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    s->base.path = alloc_printf(err, "file descriptor %d", fd);
    if (s->base.path == NULL) {
        free(s);
        return VIX_E_OUT_OF_MEMORY;
    }
    s->base.ops = &stream_disk_ops;
    s->base.sequential = true;
    s->fd = fd;
    (void)pthread_mutex_init(&s->lock, NULL);
    VixError code = begin(s, threads, err);
    if (code != VIX_OK) {
        (void)stream_close(&s->base, NULL);
        return code;
    }
    *ret_disk = &s->base;
    return VIX_OK;
}
