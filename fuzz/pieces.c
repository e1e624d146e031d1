/* SPDX-License-Identifier: BSD-3-Clause */
/* pieces.c - inputs that are made of pieces, and the files that they fill. */
#include "fuzz.h"

#include "base/bytes.h"

size_t pieces_read(const uint8_t *data, size_t size, struct piece pieces[PIECES_MAX])
{
    size_t count = 0;

    while (count < PIECES_MAX && size >= PIECE_HEADER) {
        struct piece *p = &pieces[count++];
        *p = (struct piece){data[0], get_le32(data + 1), get_le32(data + 5), data + PIECE_HEADER};
        size -= PIECE_HEADER;
        if (p->len > size) {
            p->len = (uint32_t)size;
        }
        data = p->data + p->len;
        size -= p->len;
    }
    return count;
}

/* A piece without bytes only makes its file so long. */
static void put_piece(struct store_fs *fs, const char *name, const struct piece *p)
{
    struct store *s = NULL;
    uint64_t size = 0;
    uint64_t off = p->off % PIECE_OFF_MAX;

    if (fs->ops->open(fs, name, STORE_WRITE, &s, NULL) != VIX_OK &&
        fs->ops->create(fs, name, 0, 0600, &s, NULL) != VIX_OK) {
        return;
    }
    if (p->len > 0) {
        (void)store_write(s, p->data, p->len, off, NULL);
    } else if (s->ops->size(s, &size, NULL) == VIX_OK && size < off) {
        (void)s->ops->truncate(s, off, NULL);
    }
    store_close(s);
}

struct store_fs *pieces_files(const uint8_t *data, size_t size, const char *const *names, unsigned count)
{
    struct piece pieces[PIECES_MAX];
    size_t n = pieces_read(data, size, pieces);
    struct store_fs *fs = store_fs_mem_new(NULL);

    FUZZ_ASSERT(fs != NULL, "no memory");
    for (size_t i = 0; i < n; i++) {
        put_piece(fs, names[pieces[i].file % count], &pieces[i]);
    }
    return fs;
}
