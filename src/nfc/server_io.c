/* SPDX-License-Identifier: BSD-3-Clause */
/* Message 7, on the reader's thread: what a client may ask for, how reads are cut into units, and how the frames of
 * writes become units. A single small request that nothing follows is done at once by the reader, and so are small
 * reads as long as the disk gives them at once; everything else goes to the pool. */
#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "nfc/server_int.h"

#define SECTOR 512u

/* ---- is it allowed ---- */

static void fail_range(struct nfc_job *job)
{
    const struct nfc_session *ss = job->session;
    char text[160];

    (void)snprintf(text, sizeof text, "%u bytes at byte %llu are beyond the disk's capacity of %llu bytes",
                   job->io.total, (unsigned long long)job->io.off, (unsigned long long)ss->info.capacity);
    nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_DISK_OUTOFRANGE, text);
}

static void fail_memory(struct nfc_job *job)
{
    char text[80];

    (void)snprintf(text, sizeof text, "Failed to allocate the requested %u bytes", job->io.total);
    nfc_job_fail(job, NFC_ERROR_NO_MEMORY, VIX_E_OUT_OF_MEMORY, text);
}

static void check_range(struct nfc_job *job)
{
    const struct nfc_io *io = &job->io;
    uint64_t end;

    if (io->total == 0 || io->total % SECTOR != 0 || io->off % SECTOR != 0) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, "offset and length must be whole sectors");
    } else if (io->total > NFC_REQUEST_MAX) {
        fail_memory(job);
    } else if (!checked_add(io->off, io->total, &end) || end > job->session->info.capacity) {
        fail_range(job);
    }
}

static void check_knobs(struct nfc_job *job)
{
    const struct nfc_test_knobs *test = &job->session->test;

    if (test->error_at != 0 && job->session->io_count == test->error_at) {
        nfc_job_fail(job, test->error_code, VIX_OK, "an error as the test wants it");
    } else if (!job->write && test->no_memory_above != 0 && job->io.total > test->no_memory_above) {
        fail_memory(job);
    }
}

/* A request that is not allowed is one that has failed already. */
static void check_request(struct nfc_job *job)
{
    const struct nfc_session *ss = job->session;

    if (ss->disk == NULL || job->io.handle != ss->handle) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_HANDLE, "no disk is open under this handle");
    } else if (job->io.direction > NFC_IO_READ || job->io.compression > NFC_COMPRESS_SKIPZ) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, "unknown direction or compression");
    } else if (job->write && ss->read_only) {
        nfc_job_fail(job, NFC_ERROR_PERMISSION, VIX_E_FILE_READ_ONLY,
                     "permission check failed: the disk is open read-only");
    } else {
        check_range(job);
    }
    check_knobs(job);
}

/* The first frame of a request. */
static struct nfc_job *begin(struct nfc_session *ss, uint32_t op_id, const struct nfc_io *io, struct err *err)
{
    struct nfc_job *job;

    ss->io_count++;
    if (ss->test.cut_at != 0 && ss->io_count == ss->test.cut_at) {
        (void)err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: cut at request %u as the test wants it", ss->stream->peer,
                      ss->io_count);
        return NULL;
    }
    job = nfc_job_new(ss, err);
    if (job != NULL) {
        job->io = *io;
        job->op_id = op_id;
        job->write = (io->direction & NFC_IO_READ) == 0;
        check_request(job);
    }
    return job;
}

/* Whether the reader may do the work itself: nobody waits for it meanwhile. */
static bool alone(struct nfc_session *ss)
{
    return ss->test.delay_ms == 0 && !ss->test.shuffle_replies && nfc_idle(ss) && !nfc_input_waiting(&ss->in);
}

/* ---- reads ---- */

/* Whether that is less work for the reader than giving it to others. */
static bool quick(struct nfc_session *ss, const struct nfc_io *io)
{
    return io->total <= SERVER_QUICK_MAX && io->compression == NFC_COMPRESS_NONE && ss->test.delay_ms == 0 &&
           !ss->test.shuffle_replies && atomic_load_explicit(&ss->slow, memory_order_relaxed) == 0;
}

static uint32_t unit_max(struct nfc_session *ss)
{
    uint32_t max = (uint32_t)min_u64(ss->buffer_size, SERVER_UNIT_MAX);

    if (ss->test.random_fragments) {
        SCOPED_LOCK(&ss->lock);
        max = SECTOR * (1 + (uint32_t)(nfc_session_random(ss) % (max / SECTOR)));
    }
    return max;
}

static void submit_incomplete(struct nfc_session *ss);

/* A unit; what the reader holds back is given to the pool first, as the buffers that are waited for may be there. */
static struct nfc_unit *new_unit(struct nfc_job *job, uint32_t off, uint32_t len, uint32_t packed_len, struct err *err)
{
    if (job->session->incomplete_count > 0) {
        submit_incomplete(job->session);
    }
    return nfc_unit_new(job, off, len, packed_len, err);
}

/* In order, or from the end (tests; then by the reader, one after another). */
static VixError read_parts(struct nfc_job *job, struct err *err)
{
    struct nfc_session *ss = job->session;
    uint32_t left = job->io.total;

    while (left > 0 && !job->failed) {
        uint32_t len = (uint32_t)min_u64(left, unit_max(ss));
        uint32_t off = ss->test.reverse_fragments ? left - len : job->io.total - left;
        struct nfc_unit *unit = new_unit(job, off, len, 0, err);
        if (unit == NULL) {
            return err->code;
        }
        left -= len;
        if (job->direct || ss->test.reverse_fragments) {
            nfc_unit_run(unit);
        } else {
            nfc_unit_submit(unit);
        }
    }
    return VIX_OK;
}

/* Out of memory is the request's failure, a lost connection the session's. */
static VixError settle_failure(struct nfc_job *job, struct err *err)
{
    if (err->code != VIX_E_OUT_OF_MEMORY) {
        return err->code;
    }
    fail_memory(job);
    err_init(err);
    return VIX_OK;
}

static VixError serve_read(struct nfc_session *ss, uint32_t op_id, const struct nfc_io *io, struct err *err)
{
    struct nfc_job *job = begin(ss, op_id, io, err);
    VixError code;

    if (job == NULL) {
        return err->code;
    }
    job->direct = job->io.total <= unit_max(ss) && (quick(ss, &job->io) || alone(ss));
    nfc_job_enter(ss);
    code = job->failed ? VIX_OK : read_parts(job, err);
    if (code != VIX_OK) {
        code = settle_failure(job, err);
    }
    nfc_job_drop(job);
    return code;
}

/* ---- writes ---- */

static struct nfc_job *find_incomplete(struct nfc_session *ss, uint32_t op_id)
{
    struct nfc_job *job = ss->incomplete;

    while (job != NULL && job->op_id != op_id) {
        job = job->next;
    }
    return job;
}

static void remove_incomplete(struct nfc_session *ss, struct nfc_job *job)
{
    struct nfc_job **link = &ss->incomplete;

    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    job->next = NULL;
    ss->incomplete_count--;
}

/* What has come of the units that are being filled goes to the disk: their buffers must not be waited for in vain. */
static void submit_incomplete(struct nfc_session *ss)
{
    for (struct nfc_job *job = ss->incomplete; job != NULL; job = job->next) {
        struct nfc_unit *unit = job->filling;
        if (unit != NULL && unit->filled > 0) {
            unit->len = unit->filled;
            job->filling = NULL;
            nfc_unit_submit(unit);
        }
    }
}

/* What does not fit together leaves nothing to go on with: where the next frame begins is not known for sure. */
static VixError check_fragment(struct nfc_session *ss, const struct nfc_job *job, const struct nfc_io *io,
                               struct err *err)
{
    uint32_t extra_max = NFC_BUFFER_MAX + (io->compression != NFC_COMPRESS_NONE ? SERVER_EXTRA_SURPLUS : 0);

    if (io->extra_len > extra_max || io->part_len > NFC_BUFFER_MAX ||
        (io->compression == NFC_COMPRESS_NONE && io->extra_len != io->part_len)) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                       "%s: a fragment of %u bytes on the wire for %u bytes, compression %u; at most %u are allowed",
                       ss->stream->peer, io->extra_len, io->part_len, io->compression, extra_max);
    }
    if (io->off != job->io.off || io->total != job->io.total || io->handle != job->io.handle) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: two frames of request %u are of different requests",
                       ss->stream->peer, job->op_id);
    }
    if ((io->part_len == 0 && io->total != 0) || io->part_len > io->total - job->arrived) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: a fragment of %u bytes, %u of %u bytes are there already",
                       ss->stream->peer, io->part_len, job->arrived, io->total);
    }
    return VIX_OK;
}

/* Straight into the units, each of which goes on its way when it is full. */
static VixError receive_plain(struct nfc_job *job, const struct nfc_io *io, struct err *err)
{
    struct nfc_session *ss = job->session;
    uint32_t pos = io->part_off;
    uint32_t left = io->part_len;

    while (left > 0) {
        struct nfc_unit *unit = job->filling;
        if (unit == NULL) {
            uint32_t len = (uint32_t)min_u64(io->total - pos, SERVER_UNIT_MAX);
            unit = new_unit(job, pos, len, 0, err);
            if (unit == NULL) {
                VixError code = settle_failure(job, err);
                return code == VIX_OK ? nfc_input_drop(&ss->in, left, err) : code;
            }
            job->filling = unit;
        }
        uint32_t n = (uint32_t)min_u64(left, unit->len - unit->filled);
        VixError code = nfc_input_read(&ss->in, unit->data->bytes + unit->filled, n, err);
        if (code != VIX_OK) {
            return code;
        }
        unit->filled += n;
        pos += n;
        left -= n;
        if (unit->filled == unit->len && unit->off + unit->len < io->total) { /* the last one: finish_write */
            job->filling = NULL;
            nfc_unit_submit(unit);
        }
    }
    return VIX_OK;
}

static VixError receive_packed(struct nfc_job *job, const struct nfc_io *io, struct err *err)
{
    struct nfc_session *ss = job->session;
    struct nfc_unit *unit;
    VixError code;

    if (job->filling != NULL) {
        submit_incomplete(ss);
    }
    unit = new_unit(job, io->part_off, io->part_len, io->extra_len > 0 ? io->extra_len : 1, err);
    if (unit == NULL) {
        code = settle_failure(job, err);
        return code == VIX_OK ? nfc_input_drop(&ss->in, io->extra_len, err) : code;
    }
    unit->compression = io->compression;
    unit->packed_len = io->extra_len;
    code = nfc_input_read(&ss->in, unit->packed->bytes, io->extra_len, err);
    if (code != VIX_OK || io->part_off + io->part_len == io->total) {
        job->filling = unit;
        return code;
    }
    nfc_unit_submit(unit);
    return VIX_OK;
}

/* All frames are there. */
static void finish_write(struct nfc_job *job)
{
    struct nfc_session *ss = job->session;
    struct nfc_unit *unit = job->filling;
    bool whole = unit == NULL || (unit->off == 0 && unit->len == job->io.total);

    job->filling = NULL;
    remove_incomplete(ss, job);
    job->direct = whole && alone(ss);
    nfc_job_enter(ss);
    if (unit != NULL && job->direct) {
        nfc_unit_run(unit);
    } else if (unit != NULL) {
        nfc_unit_submit(unit);
    }
    nfc_job_drop(job);
}

static VixError begin_write(struct nfc_session *ss, uint32_t op_id, const struct nfc_io *io, struct nfc_job **ret_job,
                            struct err *err)
{
    struct nfc_job *job;

    if (ss->incomplete_count >= SERVER_INCOMPLETE_MAX) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: more than %u writes have been begun and not completed",
                       ss->stream->peer, SERVER_INCOMPLETE_MAX);
    }
    job = begin(ss, op_id, io, err);
    if (job == NULL) {
        return err->code;
    }
    job->next = ss->incomplete;
    ss->incomplete = job;
    ss->incomplete_count++;
    *ret_job = job;
    return VIX_OK;
}

static VixError serve_write(struct nfc_session *ss, uint32_t op_id, const struct nfc_io *io, struct err *err)
{
    nfc_out_flush(ss);
    struct nfc_job *job = find_incomplete(ss, op_id);
    VixError code = job == NULL ? begin_write(ss, op_id, io, &job, err) : VIX_OK;

    if (code == VIX_OK) {
        code = check_fragment(ss, job, io, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (io->part_off != job->arrived) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, "the fragments of a write must come in order");
    } else if (io->part_len % SECTOR != 0) { /* units go to the disk when buffers are short, where they just are */
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, "the fragments of a write must be whole sectors");
    } else if (io->compression > NFC_COMPRESS_SKIPZ) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, "unknown compression");
    }
    if (job->failed) {
        code = nfc_input_drop(&ss->in, io->extra_len, err);
    } else if (io->compression == NFC_COMPRESS_NONE) {
        code = receive_plain(job, io, err);
    } else {
        code = receive_packed(job, io, err);
    }
    job->arrived += io->part_len;
    if (code == VIX_OK && job->arrived == io->total) {
        finish_write(job);
    }
    return code;
}

VixError nfc_server_io(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload, struct err *err)
{
    struct nfc_io io;

    nfc_io_get(payload, &io);
    /* other bits are not known, and refused; this one tells whether data follows */
    return (io.direction & NFC_IO_READ) != 0 ? serve_read(ss, header->op_id, &io, err)
                                             : serve_write(ss, header->op_id, &io, err);
}

/* ---- before other messages, and at the end ---- */

void nfc_io_settle(struct nfc_session *ss)
{
    nfc_out_flush(ss);
    submit_incomplete(ss);
    SCOPED_LOCK(&ss->lock);
    while (ss->in_flight > 0 || ss->units > 0) {
        (void)pthread_cond_wait(&ss->changed, &ss->lock);
    }
}

void nfc_io_fail_incomplete(struct nfc_session *ss, const char *text)
{
    for (struct nfc_job *job = ss->incomplete; job != NULL; job = job->next) {
        nfc_job_fail(job, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, text);
    }
}

void nfc_io_forget(struct nfc_session *ss)
{
    while (ss->incomplete != NULL) {
        struct nfc_job *job = ss->incomplete;
        if (job->filling != NULL) {
            nfc_unit_free(job->filling);
        }
        remove_incomplete(ss, job);
        nfc_job_free(job);
    }
}
