/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_stream.c - the streamOptimized extent: compressed grains, written once in ascending order, read at random.
 * Puts together the parts: stream_file.c (tables), stream_grains.c (reading), stream_writer.c (writing).
 *
 * Writing begins at the first write: the tables at the end of the file are loaded and then overwritten by grains, so
 * the file cannot be opened again until close has written new ones. Flush makes complete grains stable, not the tables,
 * nor a grain of which only a part is written. Where writing or close fails, close ends the file as it was at the last
 * flush, or before it was written.
 *
 * Locks: tables_lock is held (shared) by every read of a writable extent that has not been written, and taken
 * exclusively to begin writing; write_lock guards the writer. Order: write_lock, tables_lock. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmdk/extent.h"
#include "vmdk/stream_file.h"
#include "vmdk/stream_format.h"
#include "vmdk/stream_grains.h"
#include "vmdk/stream_writer.h"
#include "work/work.h"

#define LOOK_UP 128u /* entries at a time, for map */

/** Where the writer's bytes go: the store, from off on. */
struct store_sink {
    struct store *store;
    uint64_t off;
};

struct stream_extent {
    struct extent x;
    struct stream_file *f;
    struct stream_grains *g;
    int level;
    unsigned threads;
    pthread_rwlock_t tables_lock;
    atomic_bool writing; /* w is there; from then on its tables count */
    pthread_mutex_t write_lock;
    struct stream_writer *w;
    struct store_sink sink;
    struct stream_position safe; /* where the file is ended if writing fails: at the last flush, or where it began */
};

static struct stream_extent *of(struct extent *x)
{
    return (struct stream_extent *)x;
}

static VixError sink_append(void *ctx, const struct iovec *iov, int iovcnt, struct err *err)
{
    struct store_sink *sink = ctx;
    VixError e = store_writev(sink->store, iov, iovcnt, sink->off, err);

    for (int i = 0; e == VIX_OK && i < iovcnt; i++) {
        sink->off += iov[i].iov_len;
    }
    return e;
}

static VixError writer_on_store(const struct sparse_header *h, struct store_sink *sink, int level, unsigned threads,
                                struct stream_writer **ret_w, struct err *err)
{
    struct stream_sink s = {.append = sink_append, .ctx = sink, .name = sink->store->path};

    return stream_writer_new(h, &s, level, threads, ret_w, err);
}

/* ---- beginning to write ---- */

static VixError foreign_layout(const struct stream_extent *sx, const char *what, struct err *err)
{
    return err_set(
        err, VIX_E_NOT_SUPPORTED,
        "%s: cannot write to this streamOptimized file: %s; only files whose tables follow the grains in order "
        "can be written on, convert it instead",
        sx->x.store->path, what);
}

/** Finds the last table and checks that the tables lie in order, each where the writer would have put it. */
static VixError find_last_table(struct stream_extent *sx, const uint32_t *gd, uint64_t *ret_table, struct err *err)
{
    uint64_t behind = sx->f->h.overhead_sectors; /* where the next table may begin */
    uint64_t last = UINT64_MAX;

    for (uint64_t i = 0; i < sx->f->h.gt_count; i++) {
        if (gd[i] == 0) {
            continue;
        }
        if (gd[i] < behind) {
            return foreign_layout(sx, "its grain tables are not in order", err);
        }
        last = i;
        behind = gd[i] + sx->f->h.gt_sectors;
    }
    if (last != UINT64_MAX && behind > sx->f->h.gd_sector) {
        return foreign_layout(sx, "its grain directory is not behind the tables", err);
    }
    *ret_table = last;
    return VIX_OK;
}

/** Loads one whole table into new memory. */
static VixError load_table(struct stream_extent *sx, uint64_t table, uint32_t **ret_gt, struct err *err)
{
    uint32_t per_gt = sx->f->h.gtes_per_gt;
    uint32_t *gt = alloc_array(per_gt, sizeof *gt, err);
    uint32_t got = 0;
    VixError e = gt != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (uint32_t i = 0; e == VIX_OK && i < per_gt; i += got) {
        e = stream_file_entries(sx->f, NULL, table * per_gt + i, per_gt - i, gt + i, &got, err);
    }
    if (e != VIX_OK) {
        free(gt);
        return e;
    }
    *ret_gt = gt;
    return VIX_OK;
}

/** The last grain of a table; its record must end where the table's marker is. */
static VixError find_last_grain(struct stream_extent *sx, struct stream_position *p, uint64_t table, struct err *err)
{
    uint64_t index = sx->f->h.gtes_per_gt;
    uint8_t head[16];
    VixError e;

    while (index > 0 && p->gt[index - 1] < 2) {
        index--;
    }
    if (index == 0) {
        return foreign_layout(sx, "its last grain table is empty", err);
    }
    uint64_t sector = p->gt[index - 1];
    e = store_read(sx->x.store, head, sizeof head, sector * SECTOR_SIZE, err);
    if (e != VIX_OK) {
        return e;
    }
    struct stream_marker m = stream_marker_decode(head);
    uint64_t grain = table * sx->f->h.gtes_per_gt + index - 1;
    p->sector = sector + stream_record_bytes(m.size) / SECTOR_SIZE;
    p->next_grain = grain + 1;
    if (m.val != grain * sx->f->h.grain_sectors || p->sector + 1 != p->gd[table]) {
        return foreign_layout(sx, "its last grain is not the last record before the tables", err);
    }
    return VIX_OK;
}

/** What the end of the file says about where writing goes on. */
static VixError find_position(struct stream_extent *sx, struct stream_position *p, struct err *err)
{
    uint64_t table = UINT64_MAX;
    VixError e;

    if (!sx->f->footer_form || !sx->f->markers) {
        return foreign_layout(sx, "its tables lie in front of the grains", err);
    }
    e = stream_file_load_gd(sx->f, STREAM_WRITE_MAX_TABLES, &p->gd, err);
    if (e == VIX_OK) {
        e = find_last_table(sx, p->gd, &table, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    if (table == UINT64_MAX) {
        p->sector = sx->f->h.overhead_sectors;
        return p->sector + 1 == sx->f->h.gd_sector ? VIX_OK : foreign_layout(sx, "its records are in no table", err);
    }
    e = load_table(sx, table, &p->gt, err);
    return e == VIX_OK ? find_last_grain(sx, p, table, err) : e;
}

static void set_safe(struct stream_extent *sx, const struct stream_position *p)
{
    free(sx->safe.gd);
    free(sx->safe.gt);
    sx->safe = *p;
}

/** Makes the writer. The caller holds write_lock. */
static VixError begin_writing_locked(struct stream_extent *sx, struct err *err)
{
    struct stream_position p = {0};
    VixError e;

    if (sx->w != NULL) {
        return VIX_OK;
    }
    e = find_position(sx, &p, err);
    if (e == VIX_OK) {
        e = writer_on_store(&sx->f->h, &sx->sink, sx->level, sx->threads, &sx->w, err);
    }
    set_safe(sx, &p);
    if (e == VIX_OK) {
        sx->sink.off = p.sector * SECTOR_SIZE;
        stream_writer_resume(sx->w, &p);
        (void)pthread_rwlock_wrlock(&sx->tables_lock);
        stream_grains_forget(sx->g);
        stream_file_forget_tables(sx->f);
        atomic_store(&sx->writing, true);
        (void)pthread_rwlock_unlock(&sx->tables_lock);
    }
    return e;
}

/* ---- map ---- */

static enum run_kind kind_of(uint32_t entry)
{
    return entry == 0 ? RUN_ABSENT : entry == 1 ? RUN_ZERO : RUN_CODED;
}

/** @open_grain the grain that a writer is filling, UINT64_MAX: none. Its record has no place yet. */
static VixError map_with(struct stream_extent *sx, const struct stream_live *live, uint64_t open_grain, uint64_t sector,
                         uint64_t nsectors, struct extent_run *ret_run, struct err *err)
{
    uint64_t end = sector + nsectors;
    uint64_t first = sector / sx->x.grain_sectors;
    uint64_t grain = first;
    uint64_t last = (end - 1) / sx->x.grain_sectors;
    struct extent_run run = {.kind = RUN_ABSENT};
    bool more = true;

    while (more && grain <= last) {
        uint32_t entries[LOOK_UP];
        uint32_t count;
        VixError e =
            stream_file_entries(sx->f, live, grain, (uint32_t)min_u64(last - grain + 1, LOOK_UP), entries, &count, err);
        if (e != VIX_OK && grain > first) {
            break; /* the run ends before the damage */
        }
        if (e != VIX_OK) {
            return e;
        }
        for (uint32_t i = 0; more && i < count; i++) {
            enum run_kind kind = grain == open_grain ? RUN_CODED : kind_of(entries[i]);
            if (grain == first) {
                run.kind = kind;
                run.file_off = kind == RUN_CODED ? (uint64_t)entries[i] * SECTOR_SIZE : 0;
            }
            more = kind == run.kind;
            grain += more ? 1 : 0;
        }
    }
    run.nsectors = min_u64(grain * sx->x.grain_sectors, end) - sector;
    *ret_run = run;
    return VIX_OK;
}

static VixError stream_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                           struct extent_run *ret_run, struct err *err)
{
    struct stream_extent *sx = of(x);

    (void)flags; /* what follows one another is one run however it lies in the file */
    if (!x->writable) {
        return map_with(sx, NULL, UINT64_MAX, sector, nsectors, ret_run, err);
    }
    (void)pthread_rwlock_rdlock(&sx->tables_lock);
    if (!atomic_load(&sx->writing)) {
        VixError e = map_with(sx, NULL, UINT64_MAX, sector, nsectors, ret_run, err);
        (void)pthread_rwlock_unlock(&sx->tables_lock);
        return e;
    }
    (void)pthread_rwlock_unlock(&sx->tables_lock);
    SCOPED_LOCK(&sx->write_lock);
    uint64_t open_grain;
    VixError e = stream_writer_settle(sx->w, false, err);
    if (e != VIX_OK) {
        return e;
    }
    struct stream_live live = stream_writer_tables(sx->w);
    if (stream_writer_open_grain(sx->w, &open_grain) == NULL) {
        open_grain = UINT64_MAX;
    }
    return map_with(sx, &live, open_grain, sector, nsectors, ret_run, err);
}

VixError extent_stream_record_bytes(const struct extent *x, uint64_t file_off, uint64_t *ret_bytes, struct err *err)
{
    const struct stream_file *f = ((const struct stream_extent *)x)->f;
    uint32_t head = f->markers ? STREAM_MARKER_BYTES : STREAM_LENGTH_BYTES;
    uint8_t bytes[STREAM_MARKER_BYTES];
    if (x->writable) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the lengths of grains are told of disks that are only read",
                       x->store->path);
    }
    VixError e = store_read(x->store, bytes, head, file_off, err);
    if (e != VIX_OK) {
        return e;
    }
    uint32_t size = get_le32(bytes + head - 4);
    if (size == 0 || size > stream_max_size(x->grain_sectors)) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the grain at offset %" PRIu64 " has %" PRIu32 " bytes, allowed are 1 to %" PRIu32,
                       x->store->path, file_off, size, stream_max_size(x->grain_sectors));
    }
    *ret_bytes = round_up((uint64_t)head + size, SECTOR_SIZE);
    return VIX_OK;
}

/* ---- read ---- */

/** Reads while a writer is at work; the caller holds write_lock. */
static VixError read_written_locked(struct stream_extent *sx, uint64_t sector, uint64_t nsectors, uint8_t *buf,
                                    struct err *err)
{
    uint64_t open_grain;
    VixError e = stream_writer_settle(sx->w, false, err);

    if (e != VIX_OK) {
        return e;
    }
    struct stream_live live = stream_writer_tables(sx->w);
    const uint8_t *open = stream_writer_open_grain(sx->w, &open_grain);
    e = stream_grains_read(sx->g, &live, sector, nsectors, buf, err);
    if (e == VIX_OK && open != NULL) {
        uint64_t from = max_u64(sector, open_grain * sx->x.grain_sectors);
        uint64_t to = min_u64(sector + nsectors, (open_grain + 1) * sx->x.grain_sectors);
        if (from < to) {
            memcpy(buf + (from - sector) * SECTOR_SIZE, open + from % sx->x.grain_sectors * SECTOR_SIZE,
                   (to - from) * SECTOR_SIZE);
        }
    }
    return e;
}

static VixError stream_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct stream_extent *sx = of(x);

    if (!x->writable) {
        return stream_grains_read(sx->g, NULL, sector, nsectors, buf, err);
    }
    (void)pthread_rwlock_rdlock(&sx->tables_lock);
    if (!atomic_load(&sx->writing)) {
        VixError e = stream_grains_read(sx->g, NULL, sector, nsectors, buf, err);
        (void)pthread_rwlock_unlock(&sx->tables_lock);
        return e;
    }
    (void)pthread_rwlock_unlock(&sx->tables_lock);
    SCOPED_LOCK(&sx->write_lock);
    return read_written_locked(sx, sector, nsectors, buf, err);
}

/* ---- write ---- */

/** Whether a write behind the writer changes nothing: zeros where no grain is. */
static VixError changes_nothing_locked(struct stream_extent *sx, uint64_t sector, uint64_t nsectors, const void *buf,
                                       bool *ret_nothing, struct err *err)
{
    struct extent_run run;
    VixError e;

    *ret_nothing = false;
    if (!bytes_are_zero(buf, nsectors * SECTOR_SIZE)) {
        return VIX_OK;
    }
    e = stream_writer_settle(sx->w, false, err);
    if (e == VIX_OK) {
        struct stream_live live = stream_writer_tables(sx->w);
        e = map_with(sx, &live, UINT64_MAX, sector, nsectors, &run, err);
    }
    if (e == VIX_OK) {
        *ret_nothing = run.kind != RUN_CODED && run.nsectors == nsectors;
    }
    return e;
}

static VixError stream_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct stream_extent *sx = of(x);
    const uint8_t *from = buf;

    if (!x->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: opened for reading only", x->store->path);
    }
    SCOPED_LOCK(&sx->write_lock);
    VixError e = begin_writing_locked(sx, err);
    if (e != VIX_OK) {
        return e;
    }
    uint64_t next = stream_writer_next(sx->w);
    if (sector < next) {
        uint64_t behind = min_u64(nsectors, next - sector);
        bool nothing;
        e = changes_nothing_locked(sx, sector, behind, from, &nothing, err);
        if (e != VIX_OK) {
            return e;
        }
        if (nothing) {
            sector += behind;
            nsectors -= behind;
            from += behind * SECTOR_SIZE;
        }
    }
    return nsectors > 0 ? stream_writer_write(sx->w, sector, nsectors, from, err) : VIX_OK;
}

static VixError stream_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                            struct err *err)
{
    struct stream_extent *sx = of(x);

    if (!x->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: opened for reading only", x->store->path);
    }
    SCOPED_LOCK(&sx->write_lock);
    VixError e = begin_writing_locked(sx, err);
    return e == VIX_OK ? stream_writer_pull(sx->w, sector, nsectors, source, ctx, err) : e;
}

static VixError stream_flush(struct extent *x, struct err *err)
{
    struct stream_extent *sx = of(x);
    SCOPED_LOCK(&sx->write_lock);

    if (sx->w == NULL) {
        return VIX_OK;
    }
    struct stream_position p = {0};
    VixError e = stream_writer_settle(sx->w, false, err);
    if (e == VIX_OK) {
        e = stream_writer_position(sx->w, &p, err);
    }
    if (e != VIX_OK) {
        return e;
    }
    e = x->store->ops->flush(x->store, err);
    if (e == VIX_OK) {
        set_safe(sx, &p);
    } else {
        free(p.gd);
        free(p.gt);
    }
    return e;
}

/* ---- open and close ---- */

/** Writes the end of the file, which then is complete and stable. */
static VixError end_file(struct store *store, struct stream_writer *w, struct err *err)
{
    uint64_t sectors, size;
    VixError e = stream_writer_finish(w, &sectors, err);

    if (e == VIX_OK) {
        e = store->ops->size(store, &size, err);
    }
    if (e == VIX_OK && size != sectors * SECTOR_SIZE) {
        e = store->ops->truncate(store, sectors * SECTOR_SIZE, err);
    }
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}

/** Ends the file at the safe position. */
static VixError end_safely(const struct stream_extent *sx, struct err *err)
{
    struct store *store = sx->x.store;
    struct store_sink sink = {.store = store, .off = sx->safe.sector * SECTOR_SIZE};
    struct stream_writer *w = NULL;
    VixError e = writer_on_store(&sx->f->h, &sink, sx->level, 1, &w, err);

    if (e == VIX_OK) {
        stream_writer_resume(w, &sx->safe);
        e = end_file(store, w, err);
    }
    stream_writer_free(w);
    return e;
}

/** Ends the file, if anything was written. After a failure it is as it was at the last flush. */
static VixError finish(const struct stream_extent *sx, struct err *err)
{
    struct err why;
    VixError e = stream_writer_settle(sx->w, true, err);

    if (e == VIX_OK && stream_writer_has_written(sx->w)) {
        e = end_file(sx->x.store, sx->w, err);
    }
    if (e == VIX_OK) {
        return VIX_OK;
    }
    stream_writer_stop(sx->w); /* after a failure threads may be at work still */
    if (!stream_writer_has_written(sx->w)) {
        return e;
    }
    err_init(&why);
    if (end_safely(sx, &why) == VIX_OK) {
        err_prefix(err, "what was written since the last flush is lost: ");
    } else {
        err_prefix(err, "vixdisk convert --salvage reads what is there, the tables are lost (%s): ", why.text);
    }
    return e;
}

static VixError stream_close(struct extent *x, struct err *err)
{
    struct stream_extent *sx = of(x);
    VixError e = sx->w != NULL ? finish(sx, err) : VIX_OK;

    stream_writer_free(sx->w);
    set_safe(sx, &(struct stream_position){0});
    stream_grains_free(sx->g);
    stream_file_close(sx->f);
    (void)pthread_mutex_destroy(&sx->write_lock);
    (void)pthread_rwlock_destroy(&sx->tables_lock);
    free(sx);
    return e;
}

static const struct extent_ops stream_ops = {
    .name = "SPARSE",
    .map = stream_map,
    .map_many = extent_map_one,
    .read_coded = stream_read_coded,
    .write = stream_write,
    .pull = stream_pull,
    .flush = stream_flush,
    .close = stream_close,
};

static VixError open_parts(struct stream_extent *sx, const struct extent_open_params *p, struct err *err)
{
    VixError e = stream_file_open(p->store, p->table_cache_bytes, &sx->f, err);

    if (e != VIX_OK) {
        return e;
    }
    if (p->nsectors > sx->f->h.capacity) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: the descriptor gives the extent %" PRIu64 " sectors, its header %" PRIu64, p->store->path,
                       p->nsectors, sx->f->h.capacity);
    }
    sx->x.nsectors = p->nsectors != 0 ? p->nsectors : sx->f->h.capacity;
    sx->x.grain_sectors = sx->f->h.grain_sectors;
    return stream_grains_new(sx->f, sx->threads, &sx->g, err);
}

VixError extent_stream_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    struct stream_extent *sx = alloc_zero(sizeof *sx, err);
    VixError e;

    if (sx == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    sx->x = (struct extent){
        .ops = &stream_ops, .store = p->store, .writable = p->writable, .compressed = true, .ordered = true};
    sx->level = p->level;
    sx->threads = p->threads != 0 ? p->threads : work_default_threads();
    sx->sink.store = p->store;
    (void)pthread_mutex_init(&sx->write_lock, NULL);
    (void)pthread_rwlock_init(&sx->tables_lock, NULL);
    e = open_parts(sx, p, err);
    if (e != VIX_OK) {
        (void)stream_close(&sx->x, NULL);
        return e;
    }
    *ret_x = &sx->x;
    return VIX_OK;
}

VixError extent_stream_create(struct store *store, uint64_t nsectors, const char *descriptor, size_t descriptor_len,
                              struct err *err)
{
    struct store_sink sink = {.store = store};
    struct stream_writer *w = NULL;
    struct sparse_header h;
    VixError e;

    stream_header_new(nsectors, &h);
    e = writer_on_store(&h, &sink, 0, 1, &w, err);
    if (e == VIX_OK) {
        e = stream_writer_begin(w, descriptor, descriptor_len, err);
    }
    if (e == VIX_OK) {
        e = stream_writer_finish(w, NULL, err);
    }
    stream_writer_free(w);
    return e == VIX_OK ? store->ops->flush(store, err) : e;
}
