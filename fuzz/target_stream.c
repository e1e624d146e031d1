/* SPDX-License-Identifier: BSD-3-Clause */
/* A streamOptimized file: with its tables, out of a pipe, which must give the same grains of a file that is sound, and
 * must give them where check has nothing to remark, and without tables (salvage). */
#include "fuzz.h"

#include <string.h>

#include "ops/salvage.h"
#include "vmdk/stream_reader.h"

struct source {
    struct store *store;
    uint64_t pos;
};

static VixError read_source(void *ctx, void *buf, uint64_t len, uint64_t *ret_len, struct err *err)
{
    struct source *s = ctx;
    VixError code = store_read_some(s->store, buf, len, s->pos, ret_len, err);

    s->pos += code == VIX_OK ? *ret_len : 0;
    return code;
}

/* The first sectors as they come out of a pipe, then some far ahead, then the end of the stream. *ret_whole_told: a
 * footer tells the reader that the stream was whole. */
static VixError read_pipe(struct store_fs *fs, const char *path, uint64_t nsectors, uint8_t *buf, bool *ret_whole_told)
{
    struct source source = {0};
    const struct stream_input in = {.read = read_source, .ctx = &source, .name = "pipe"};
    struct stream_reader *r = NULL;
    size_t len = 0;
    uint8_t ahead[8 * 512];

    if (fs->ops->open(fs, path, STORE_READ, &source.store, NULL) != VIX_OK) {
        return VIX_E_FILE_NOT_FOUND;
    }
    VixError code = stream_reader_open(&in, 2, &r, NULL);
    if (code == VIX_OK) {
        const struct sparse_header *h = stream_reader_header(r);
        uint64_t n = nsectors < h->capacity ? nsectors : h->capacity;
        *ret_whole_told = h->gd_sector == KDMV_GD_AT_END;
        (void)stream_reader_descriptor(r, &len);
        code = stream_reader_read(r, 0, n, buf, NULL);
        if (code == VIX_OK && h->capacity > n + 3 * 128) {
            code = stream_reader_read(r, h->capacity - 2 * 128, 8, ahead, NULL);
        }
        if (code == VIX_OK) {
            code = stream_reader_finish(r, NULL);
        }
        stream_reader_close(r);
    }
    store_close(source.store);
    return code;
}

static VixError read_salvage(struct store_fs *fs, const char *path, uint64_t nsectors, uint8_t *buf)
{
    static struct salvage_report report;
    struct disk *d = NULL;
    VixError code = salvage_open(fs, path, &d, NULL);

    if (code != VIX_OK) {
        return code;
    }
    code = disk_read(d, 0, nsectors < d->capacity ? nsectors : d->capacity, buf, NULL);
    (void)salvage_tell(d, &report);
    (void)disk_close(d, NULL);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"x.vmdk"};
    static uint8_t piped[VIEW_SECTORS * 512], salvaged[VIEW_SECTORS * 512];
    struct store_fs *fs = pieces_files(data, size, names, 1);
    struct view view;

    disk_exercise(fs, names[0]);
    uint64_t remarks = 0;
    bool whole_told = false, sound = disk_check_remarks(fs, names[0], &remarks) == VIX_OK;
    disk_look(fs, names[0], &view);
    VixError from_pipe = read_pipe(fs, names[0], VIEW_SECTORS, piped, &whole_told);
    (void)read_salvage(fs, names[0], VIEW_SECTORS, salvaged);
    if (sound && view.code == VIX_OK) {
        FUZZ_ASSERT(from_pipe != VIX_OK || memcmp(piped, view.bytes, view.nsectors * 512) == 0, "the pipe differs");
        FUZZ_ASSERT(from_pipe == VIX_OK || remarks > 0 || !whole_told, "the pipe gives %d without a remark of check",
                    (int)from_pipe);
    }
    free(view.bytes);
    store_fs_mem_free(fs);
    return 0;
}
