/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and their units. A request is answered when nothing of it is pending: a write with one frame, a failure with
 * one ERROR, and of a read that went well every unit has sent its own fragment. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "nfc/server_int.h"

#define OWNER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* ---- requests ---- */

static struct nfc_job *take_job(struct nfc_session *ss)
{
    SCOPED_LOCK(&ss->lock);
    struct nfc_job *job = ss->stock.jobs;

    if (job != NULL) {
        ss->stock.jobs = job->next;
    }
    return job;
}

struct nfc_job *nfc_job_new(struct nfc_session *ss, struct err *err)
{
    struct nfc_job *job = take_job(ss);

    if (job == NULL) {
        job = alloc_zero(sizeof *job, err);
    } else {
        memset(job, 0, sizeof *job);
    }
    if (job != NULL) {
        job->session = ss;
        job->pending = 1;
    }
    return job;
}

void nfc_job_free(struct nfc_job *job)
{
    struct nfc_session *ss = job->session;
    SCOPED_LOCK(&ss->lock);

    free(job->error_text);
    job->error_text = NULL;
    job->next = ss->stock.jobs;
    ss->stock.jobs = job;
}

void nfc_job_fail(struct nfc_job *job, uint32_t code, VixError detail, const char *text)
{
    SCOPED_LOCK(&job->session->lock);

    if (!job->failed) {
        job->error_code = code;
        job->error_detail = detail;
        job->error_text = alloc_text(text, NULL);
        job->failed = true;
    }
}

static void fail_by_host(struct nfc_job *job, VixError code, struct err *failure)
{
    char text[ERR_TEXT_MAX];
    uint32_t number;

    failure->code = code;
    number = nfc_error_of_failure(failure, text);
    nfc_job_fail(job, number, code, text);
}

/* Waits until others have got on; what this thread keeps may be all that there is. With the lock held, which is
 * released meanwhile. */
static void wait_change(struct nfc_session *ss)
{
    if (ss->kept != NULL) {
        (void)pthread_mutex_unlock(&ss->lock);
        nfc_out_flush(ss);
        (void)pthread_mutex_lock(&ss->lock);
    } else {
        (void)pthread_cond_wait(&ss->changed, &ss->lock);
    }
}

void nfc_job_enter(struct nfc_session *ss)
{
    uint32_t max = ss->how->in_flight_max > 0 ? ss->how->in_flight_max : SERVER_IN_FLIGHT_DEFAULT;
    SCOPED_LOCK(&ss->lock);

    while (ss->in_flight >= max && !ss->broken) {
        wait_change(ss);
    }
    ss->in_flight++;
}

static void leave(struct nfc_job *job)
{
    struct nfc_session *ss = job->session;

    nfc_job_free(job);
    SCOPED_LOCK(&ss->lock);
    ss->in_flight--;
    (void)pthread_cond_signal(&ss->changed);
}

static void answer_done(struct nfc_session *ss, struct nfc_out *out)
{
    (void)ss;
    leave(OWNER(out, struct nfc_job, out));
}

static void put_written(struct nfc_job *job)
{
    struct nfc_header header = {NFC_AIO_IO, NFC_IO_LEN, job->op_id};
    struct nfc_io io = job->io;

    io.handle = 0;
    io.compression = NFC_COMPRESS_NONE;
    io.part_off = 0;
    io.part_len = io.total;
    io.extra_len = 0;
    nfc_header_put(&header, job->out.head);
    nfc_io_put(&io, job->out.head + NFC_HEADER_LEN);
    job->out.head_len = NFC_HEADER_LEN + NFC_IO_LEN;
    job->out.body_len = 0;
}

static void deliver(const struct nfc_job *job, struct nfc_out *out)
{
    if (job->direct) {
        nfc_out_keep(job->session, out);
    } else {
        nfc_out_post(job->session, out);
    }
}

static void answer(struct nfc_job *job)
{
    if (job->failed) {
        nfc_out_error(job->session, &job->out, job->op_id, job->error_code, job->error_detail,
                      job->error_text != NULL ? job->error_text : "out of memory");
    } else if (job->write) {
        put_written(job);
    } else {
        leave(job);
        return;
    }
    job->out.done = answer_done;
    deliver(job, &job->out);
}

void nfc_job_drop(struct nfc_job *job)
{
    bool last;

    {
        SCOPED_LOCK(&job->session->lock);
        last = --job->pending == 0;
    }
    if (last) {
        answer(job);
    }
}

/* ---- units ---- */

static struct nfc_unit *take_unit_locked(struct nfc_session *ss)
{
    struct nfc_unit *unit = ss->stock.units;

    if (unit == NULL) {
        return alloc_zero(sizeof *unit, NULL);
    }
    ss->stock.units = unit->next;
    memset(unit, 0, sizeof *unit);
    return unit;
}

static bool is_plain_read(const struct nfc_unit *unit)
{
    return !unit->job->write && !unit->packs;
}

/* What lies ready beyond what the workers can read makes nothing faster, takes memory, and does not stay in the
 * processors' caches: others are to be sent first, and some of them, as waking the reader is dear. What is compressed
 * is work done while the line is busy, and does not wait. With the lock held. */
static void wait_sent(struct nfc_session *ss, uint32_t len)
{
    if (ss->reading == 0 || ss->reading + len <= ss->reading_max) {
        return;
    }
    ss->reading_waits = true;
    while (ss->reading > ss->reading_low && !ss->broken) {
        wait_change(ss);
    }
    ss->reading_waits = false;
}

/* Waits for the buffers; false: there will be none. With the lock held. */
static bool wait_buffers(struct nfc_session *ss, struct nfc_unit *unit, uint32_t packed_len)
{
    const uint32_t room = unit->packs ? (uint32_t)nfc_fragment_bound(unit->len) : unit->len;
    bool no_memory = false;

    while (!ss->broken && !nfc_stock_take(&ss->stock, room, packed_len, &unit->data, &unit->packed, &no_memory)) {
        /* without memory, and with nothing that will give back any, waiting is of no use */
        if (no_memory && ss->units == 0 && ss->sender.queued == 0 && ss->kept == NULL) {
            return false;
        }
        wait_change(ss);
    }
    return !ss->broken;
}

struct nfc_unit *nfc_unit_new(struct nfc_job *job, uint32_t off, uint32_t len, uint32_t packed_len, struct err *err)
{
    struct nfc_session *ss = job->session;
    SCOPED_LOCK(&ss->lock);
    struct nfc_unit *unit = take_unit_locked(ss);

    if (unit == NULL) {
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory");
        return NULL;
    }
    unit->job = job;
    unit->off = off;
    unit->len = len;
    unit->packs = !job->write && job->io.compression != NFC_COMPRESS_NONE && !ss->test.plain_replies;
    if (is_plain_read(unit)) {
        wait_sent(ss, len);
    }
    if (!wait_buffers(ss, unit, packed_len)) {
        unit->next = ss->stock.units;
        ss->stock.units = unit;
        if (ss->broken) {
            *err = ss->broken_err;
        } else {
            (void)err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a buffer of %u bytes", len);
        }
        return NULL;
    }
    job->pending++;
    ss->reading += is_plain_read(unit) ? len : 0;
    return unit;
}

void nfc_unit_free(struct nfc_unit *unit)
{
    struct nfc_session *ss = unit->job->session;
    SCOPED_LOCK(&ss->lock);

    ss->reading -= is_plain_read(unit) ? unit->len : 0;
    nfc_stock_give(&ss->stock, unit->data);
    nfc_stock_give(&ss->stock, unit->packed);
    unit->next = ss->stock.units;
    ss->stock.units = unit;
    if (!ss->reading_waits || ss->reading <= ss->reading_low) {
        (void)pthread_cond_signal(&ss->changed);
    }
}

/* ---- compression ---- */

static struct nfc_coder_entry *take_coder(struct nfc_session *ss)
{
    struct nfc_coder_entry *entry;

    {
        SCOPED_LOCK(&ss->lock);
        entry = ss->stock.coders;
        if (entry != NULL) {
            ss->stock.coders = entry->next;
            return entry;
        }
    }
    entry = alloc_zero(sizeof *entry, NULL);
    if (entry != NULL && nfc_coder_new(&entry->coder, NULL) != VIX_OK) {
        nfc_coder_entry_free(entry);
        return NULL;
    }
    return entry;
}

static void give_coder(struct nfc_session *ss, struct nfc_coder_entry *entry)
{
    SCOPED_LOCK(&ss->lock);

    entry->next = ss->stock.coders;
    ss->stock.coders = entry;
}

/* One to read with: where the data goes first. */
static struct nfc_coder_entry *take_reading_coder(struct nfc_session *ss)
{
    struct nfc_coder_entry *entry = take_coder(ss);

    if (entry != NULL && entry->plain == NULL) {
        entry->plain = alloc_aligned(4096, SERVER_UNIT_MAX, NULL);
        if (entry->plain == NULL) {
            give_coder(ss, entry);
            return NULL;
        }
    }
    return entry;
}

static VixError expand(struct nfc_unit *unit, struct err *err)
{
    struct nfc_session *ss = unit->job->session;
    struct nfc_coder_entry *entry = take_coder(ss);
    bool good;

    if (entry == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "out of memory for a decompressor");
    }
    good = nfc_fragment_expand(entry->coder, unit->compression, unit->packed->bytes, unit->packed_len,
                               unit->data->bytes, unit->len);
    give_coder(ss, entry);
    if (!good) {
        return err_set(
            err, VIX_E_INVALID_ARG,
            "the fragment at byte %u of the request, %u bytes of compression %u, does not expand to %u bytes",
            unit->off, unit->packed_len, unit->compression, unit->len);
    }
    return VIX_OK;
}

/* ---- the work ---- */

static void unit_done(struct nfc_unit *unit)
{
    struct nfc_job *job = unit->job;

    nfc_unit_free(unit);
    nfc_job_drop(job);
}

static void fragment_done(struct nfc_session *ss, struct nfc_out *out)
{
    (void)ss;
    unit_done(OWNER(out, struct nfc_unit, out));
}

static void put_fragment(struct nfc_unit *unit)
{
    const struct nfc_job *job = unit->job;
    struct nfc_header header = {NFC_AIO_IO, NFC_IO_LEN, job->op_id};
    struct nfc_io io = {
        .direction = NFC_IO_READ,
        .compression = unit->compression,
        .off = job->io.off,
        .total = job->io.total,
        .part_off = unit->off,
        .part_len = unit->len,
        .extra_len = unit->packed_len > 0 ? unit->packed_len : unit->len,
    };

    nfc_header_put(&header, unit->out.head);
    nfc_io_put(&io, unit->out.head + NFC_HEADER_LEN);
    unit->out.head_len = NFC_HEADER_LEN + NFC_IO_LEN;
    unit->out.body = unit->data->bytes;
    unit->out.body_len = io.extra_len;
    unit->out.done = fragment_done;
}

/* Reads that come out of memory are not worth a change of threads. */
static void note_time(struct nfc_session *ss, uint64_t ns)
{
    unsigned slow = atomic_load_explicit(&ss->slow, memory_order_relaxed);

    if (ns > SERVER_QUICK_NS) {
        atomic_store_explicit(&ss->slow, SERVER_SLOW_READS, memory_order_relaxed);
    } else if (slow > 0) {
        (void)atomic_compare_exchange_strong(&ss->slow, &slow, slow - 1);
    }
}

static VixError read_disk(struct nfc_unit *unit, uint8_t *to, struct err *err)
{
    const struct nfc_job *job = unit->job;
    struct nfc_session *ss = job->session;
    const bool timed = job->io.total <= SERVER_QUICK_MAX;
    const uint64_t begin = timed ? nfc_now_ns() : 0;
    VixError code = ss->how->ops->read(ss->disk, job->io.off + unit->off, unit->len, to, err);

    if (timed) {
        note_time(ss, nfc_now_ns() - begin);
    }
    return code;
}

/* What is compressed is read into memory of the coder, which stays in the processor's cache from one unit to the next,
 * and the unit holds only what is to be sent. Without memory for a coder the data goes as it is. */
static VixError read_packed(struct nfc_unit *unit, struct err *err)
{
    const enum nfc_compression method = unit->job->io.compression;
    struct nfc_session *ss = unit->job->session;
    struct nfc_coder_entry *entry = take_reading_coder(ss);

    if (entry == NULL) {
        return read_disk(unit, unit->data->bytes, err);
    }
    VixError code = read_disk(unit, entry->plain, err);
    if (code == VIX_OK) {
        unit->packed_len =
            (uint32_t)nfc_fragment_compress(entry->coder, method, entry->plain, unit->len, unit->data->bytes);
        if (unit->packed_len > 0) {
            unit->compression = method;
        } else {
            memcpy(unit->data->bytes, entry->plain, unit->len);
        }
    }
    give_coder(ss, entry);
    return code;
}

static void run_read(struct nfc_unit *unit)
{
    struct nfc_job *job = unit->job;
    VixError code;
    struct err err;

    err_init(&err);
    if (job->failed) {
        unit_done(unit);
        return;
    }
    code = unit->packs ? read_packed(unit, &err) : read_disk(unit, unit->data->bytes, &err);
    if (code != VIX_OK) {
        fail_by_host(job, code, &err);
        unit_done(unit);
        return;
    }
    put_fragment(unit);
    deliver(job, &unit->out);
}

static void run_write(struct nfc_unit *unit)
{
    struct nfc_job *job = unit->job;
    struct nfc_session *ss = job->session;
    VixError code = VIX_OK;
    struct err err;

    err_init(&err);
    if (!job->failed && unit->packed != NULL) {
        code = expand(unit, &err);
    }
    if (!job->failed && code == VIX_OK) {
        code = ss->how->ops->write(ss->disk, job->io.off + unit->off, unit->len, unit->data->bytes, &err);
    }
    if (code != VIX_OK) {
        fail_by_host(job, code, &err);
    }
    unit_done(unit);
}

void nfc_unit_run(struct nfc_unit *unit)
{
    if (unit->job->write) {
        run_write(unit);
    } else {
        run_read(unit);
    }
}

static void run_on_pool(struct work_item *item)
{
    struct nfc_unit *unit = OWNER(item, struct nfc_unit, item);
    struct nfc_session *ss = unit->job->session;

    nfc_unit_run(unit);
    SCOPED_LOCK(&ss->lock);
    if (--ss->units == 0) {
        (void)pthread_cond_signal(&ss->changed);
    }
}

void nfc_unit_submit(struct nfc_unit *unit)
{
    struct nfc_session *ss = unit->job->session;

    {
        SCOPED_LOCK(&ss->lock);
        ss->units++;
    }
    unit->item.run = run_on_pool;
    work_submit(ss->how->pool, &unit->item);
}

bool nfc_idle(struct nfc_session *ss)
{
    SCOPED_LOCK(&ss->lock);
    return ss->in_flight == 0 && ss->units == 0;
}
