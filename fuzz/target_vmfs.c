/* SPDX-License-Identifier: BSD-3-Clause */
/* A volume of VMFS on up to four LUNs: what is found on it is listed, mapped, read and overwritten. What the map says
 * is what a read gives and where a write goes; a write that is refused changes nothing. The LUNs are the pieces
 * themselves, so that they may be as large as real ones. */
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "fuzz.h"
#include "vmfs/vmfs.h"

#define LUNS 4u
#define LUN_MIN (UINT64_C(2) << 20)
#define FILES 24u                      /* that are looked at */
#define READ_MAX (UINT64_C(256) << 20) /* bytes of LUNs, after which no more files are */
#define DEPTH 4u
#define RUNS 64u              /* of a file */
#define LOOK 4096u            /* bytes of a run */
#define SURVEY_BLOCKS 100000u /* of a file that is walked whole */
#define BLOCK_MIN 512u

/** A LUN: what no piece covers is zeros, and writes are only looked at. */
struct lun {
    struct store base;
    const struct piece *pieces;
    size_t count;
    unsigned number;
    uint64_t size;
    uint64_t may_off, may_len; /* where a write may go */
    uint64_t written;          /* bytes */
    uint64_t read;             /* bytes */
};

static struct lun *lun_of(struct store *s)
{
    return (struct lun *)s;
}

static void read_pieces(const struct lun *l, uint8_t *buf, uint64_t len, uint64_t off)
{
    memset(buf, 0, len);
    for (size_t i = 0; i < l->count; i++) {
        const struct piece *p = &l->pieces[i];
        uint64_t low = max_u64(off, p->off), high = min_u64(off + len, (uint64_t)p->off + p->len);
        if (p->file % LUNS == l->number && low < high) {
            memcpy(buf + (low - off), p->data + (low - p->off), high - low);
        }
    }
}

static VixError lun_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    for (int i = 0; i < iovcnt; i++) {
        if (off > lun_of(s)->size || iov[i].iov_len > lun_of(s)->size - off) {
            return err_set(err, VIX_E_HOST_FILE_ERROR_EOF, "%s: beyond the end", s->path);
        }
        read_pieces(lun_of(s), iov[i].iov_base, iov[i].iov_len, off);
        lun_of(s)->read += iov[i].iov_len;
        off += iov[i].iov_len;
    }
    return VIX_OK;
}

static VixError lun_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct lun *l = lun_of(s);

    (void)err;
    for (int i = 0; i < iovcnt; i++) {
        FUZZ_ASSERT(off >= l->may_off && off + iov[i].iov_len <= l->may_off + l->may_len,
                    "LUN %u: %zu bytes are written at %" PRIu64 ", allowed: %" PRIu64 " at %" PRIu64, l->number,
                    iov[i].iov_len, off, l->may_len, l->may_off);
        off += iov[i].iov_len;
        l->written += iov[i].iov_len;
    }
    return VIX_OK;
}

static VixError lun_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    (void)err;
    *ret_size = lun_of(s)->size;
    return VIX_OK;
}

static VixError lun_flush(struct store *s, struct err *err)
{
    (void)s, (void)err;
    return VIX_OK;
}

/* The reader needs no more than these. */
static const struct store_ops lun_ops = {
    .readv = lun_readv, .writev = lun_writev, .size = lun_size, .flush = lun_flush};

/** The LUNs that the pieces fill; a piece without bytes only makes its LUN so long. */
static size_t make_luns(const struct piece *pieces, size_t count, struct lun luns[LUNS])
{
    static char names[LUNS][8] = {"lun0", "lun1", "lun2", "lun3"};
    size_t used = 0;

    for (unsigned n = 0; n < LUNS; n++) {
        luns[n] = (struct lun){.base = {.ops = &lun_ops, .path = names[n], .writable = true, .align = 512},
                               .pieces = pieces,
                               .count = count,
                               .number = n,
                               .size = LUN_MIN};
    }
    for (size_t i = 0; i < count; i++) {
        unsigned n = pieces[i].file % LUNS;
        luns[n].size = max_u64(luns[n].size, (uint64_t)pieces[i].off + pieces[i].len);
        used = used > n + 1 ? used : n + 1;
    }
    return used;
}

/* ---- one file ---- */

static void check_run(const struct vmfs_run *r, uint64_t off, uint64_t room, const struct lun *luns, size_t count)
{
    FUZZ_ASSERT(r->off == off && r->len > 0 && r->len <= room,
                "%" PRIu64 " bytes at %" PRIu64 ", asked: %" PRIu64 " at %" PRIu64, r->len, r->off, room, off);
    if (r->kind == VMFS_DATA) {
        FUZZ_ASSERT(r->lun < count && r->lun_off <= luns[r->lun].size && r->len <= luns[r->lun].size - r->lun_off,
                    "%" PRIu64 " bytes at %" PRIu64 " of LUN %zu", r->len, r->lun_off, r->lun);
    }
}

/* Reading gives what the map says. */
static void read_run(struct vmfs_file *f, const struct vmfs_run *r, const struct lun *luns)
{
    uint8_t got[LOOK], want[LOOK] = {0};
    uint64_t len = min_u64(r->len, LOOK);
    uint64_t skip = r->len - len; /* the end of a run is where mistakes are */

    VixError code = vmfs_file_read(f, got, len, r->off + skip, NULL);
    FUZZ_ASSERT(code == (r->kind == VMFS_UNSURE ? VIX_E_NOT_SUPPORTED : VIX_OK), "read gave %" PRIu64, (uint64_t)code);
    if (r->kind == VMFS_DATA) {
        read_pieces(&luns[r->lun], want, len, r->lun_off + skip);
    }
    FUZZ_ASSERT(code != VIX_OK || memcmp(got, want, len) == 0, "%" PRIu64 " bytes at %" PRIu64 " differ", len, r->off);
}

/* Only blocks of the file's own are overwritten, and where they are. */
static void write_run(struct vmfs_file *f, const struct vmfs_run *r, struct lun *luns)
{
    static const uint8_t bytes[LOOK];
    uint64_t len = min_u64(r->len, LOOK);
    bool own = r->kind == VMFS_DATA && !r->shared && !r->within_system;
    struct lun *l = &luns[own ? r->lun : 0];

    if (own) {
        l->may_off = r->lun_off;
        l->may_len = len;
    }
    l->written = 0;
    VixError code = vmfs_file_write(f, bytes, len, r->off, NULL);
    FUZZ_ASSERT(code == (own ? VIX_OK : VIX_E_FILE_READ_ONLY), "write gave %" PRIu64, (uint64_t)code);
    FUZZ_ASSERT(l->written == (own ? len : 0), "%" PRIu64 " bytes were written", l->written);
    l->may_len = 0;
}

static void use_file(struct vmfs_file *f, struct lun *luns, size_t count)
{
    uint64_t length = vmfs_file_length(f);
    struct vmfs_survey s;
    unsigned runs = 0;
    struct err err;

    err_init(&err);
    for (uint64_t off = 0; off < length && runs < RUNS; runs++) {
        uint64_t room = min_u64(length - off, (uint64_t)SURVEY_BLOCKS * BLOCK_MIN);
        struct vmfs_run r;
        if (vmfs_file_map(f, off, room, &r, &err) != VIX_OK) {
            FUZZ_ASSERT(err.text[0] != '\0', "refused without a sentence");
            return;
        }
        check_run(&r, off, room, luns, count);
        read_run(f, &r, luns);
        write_run(f, &r, luns);
        off += r.len;
    }
    if (length / BLOCK_MIN <= SURVEY_BLOCKS && vmfs_file_survey(f, &s, &err) == VIX_OK) {
        FUZZ_ASSERT(s.data + s.hole + s.to_be_zeroed + s.unsure == length && s.not_own <= s.data,
                    "the survey does not add up to %" PRIu64, length);
    }
}

/* ---- names ---- */

struct walk {
    struct vmfs *v;
    struct store_fs *fs;
    struct lun *luns;
    size_t lun_count;
    unsigned left; /* files to look at */
    char path[DEPTH * (VMFS_NAME_MAX + 1) + 2];
    unsigned depth;
};

static void use_name(struct walk *w);

static VixError found_name(void *ctx, const char *name, struct err *err)
{
    struct walk *w = ctx;
    size_t end = strlen(w->path), len = strlen(name);

    FUZZ_ASSERT(len > 0 && len <= VMFS_NAME_MAX && strchr(name, '/') == NULL, "\"%s\" is no name", name);
    if (w->left == 0 || w->luns[0].read + w->luns[1].read + w->luns[2].read + w->luns[3].read > READ_MAX) {
        return err_set(err, VIX_E_CANCELLED, "enough");
    }
    w->left--;
    w->path[end] = '/';
    memcpy(w->path + end + 1, name, len + 1);
    use_name(w);
    w->path[end] = '\0';
    return VIX_OK;
}

static void use_store(struct walk *w, uint64_t length)
{
    struct store *s = NULL;
    uint64_t size = 0;

    if (w->fs->ops->open(w->fs, w->path, STORE_READ, &s, NULL) == VIX_OK) {
        FUZZ_ASSERT(s->ops->size(s, &size, NULL) == VIX_OK && size == length, "%" PRIu64 " bytes", size);
        store_close(s);
    }
}

static void use_name(struct walk *w)
{
    struct vmfs_file *f = NULL;

    VixError code = vmfs_file_open(w->v, w->path, &f, NULL);
    if (code == VIX_OK) {
        use_file(f, w->luns, w->lun_count);
        use_store(w, vmfs_file_length(f));
        vmfs_file_close(f);
    } else if (code == VIX_E_INCORRECT_FILE_TYPE && w->depth < DEPTH - 1) {
        w->depth++;
        (void)vmfs_list(w->v, w->path, found_name, w, NULL);
        w->depth--;
    }
    FUZZ_ASSERT(code != VIX_E_FILE_NOT_FOUND, "%s is listed and not found", w->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct piece pieces[PIECES_MAX];
    struct lun luns[LUNS];
    struct vmfs_lun given[LUNS];
    struct walk w = {.luns = luns, .left = FILES};
    struct err err;

    w.lun_count = make_luns(pieces, pieces_read(data, size, pieces), luns);
    for (size_t i = 0; i < w.lun_count; i++) {
        given[i] = (struct vmfs_lun){&luns[i].base, 0};
    }
    err_init(&err);
    if (vmfs_open(given, w.lun_count, &w.v, &err) != VIX_OK) {
        FUZZ_ASSERT(err.text[0] != '\0', "refused without a sentence");
        return 0;
    }
    FUZZ_ASSERT(vmfs_fs_new(w.v, &w.fs, NULL) == VIX_OK, "no memory");
    (void)vmfs_list(w.v, "/", found_name, &w, NULL);
    vmfs_fs_free(w.fs);
    vmfs_close(w.v);
    return 0;
}
