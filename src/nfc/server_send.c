/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes out. The reader sends its own answers at once, or, of reads, some together before it waits for anything;
 * those of the workers wait in a queue for the sender's thread, which gives several to the socket in one call. Each
 * frame goes out under send_lock as one piece. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "nfc/server_int.h"
#include "work/thread.h"

#define NS_PER_MS 1000000u
#define NS_PER_S 1000000000u
#define SHUFFLE_WAIT_NS (2 * (uint64_t)NS_PER_MS) /* so that there is something to shuffle */

uint64_t nfc_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void nap_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)NS_PER_MS};

    if (ms > 0) {
        (void)nanosleep(&time, NULL);
    }
}

uint64_t nfc_session_random(struct nfc_session *ss)
{
    ss->random ^= ss->random << 13;
    ss->random ^= ss->random >> 7;
    ss->random ^= ss->random << 17;
    return ss->random;
}

/* ---- the end of a connection ---- */

void nfc_session_break(struct nfc_session *ss, const struct err *err)
{
    {
        SCOPED_LOCK(&ss->lock);
        if (!ss->broken) {
            ss->broken = true;
            ss->broken_err = *err;
        }
        (void)pthread_cond_broadcast(&ss->changed);
        (void)pthread_cond_broadcast(&ss->sender.wake);
    }
    ss->stream->ops->shutdown(ss->stream);
}

bool nfc_session_broken(struct nfc_session *ss)
{
    SCOPED_LOCK(&ss->lock);
    return ss->broken;
}

/* ---- at once ---- */

static struct iovec piece(const void *bytes, size_t len)
{
    return (struct iovec){(void *)(uintptr_t)bytes, len}; /* writev only reads */
}

static VixError write_pieces(struct nfc_session *ss, const struct iovec *iov, int count, struct err *err)
{
    SCOPED_LOCK(&ss->send_lock);
    return ss->stream->ops->writev(ss->stream, iov, count, err);
}

VixError nfc_send(struct nfc_session *ss, const void *head, size_t head_len, const void *body, size_t body_len,
                  struct err *err)
{
    const struct iovec iov[2] = {piece(head, head_len), piece(body, body_len)};

    nap_ms(ss->test.delay_ms);
    return write_pieces(ss, iov, body_len > 0 ? 2 : 1, err);
}

VixError nfc_send_payload(struct nfc_session *ss, const struct nfc_header *request, const uint8_t *payload,
                          uint32_t payload_len, struct err *err)
{
    struct nfc_header header = {request->type, payload_len, request->op_id};
    uint8_t bytes[NFC_HEADER_LEN];

    nfc_header_put(&header, bytes);
    return nfc_send(ss, bytes, sizeof bytes, payload, payload_len, err);
}

/* ---- errors ---- */

static uint32_t error_code_of(VixError code)
{
    switch (code) {
    case VIX_E_OUT_OF_MEMORY:
        return NFC_ERROR_NO_MEMORY;
    case VIX_E_NOT_SUPPORTED:
    case VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT:
        return NFC_ERROR_UNSUPPORTED;
    case VIX_E_INVALID_ARG:
    case VIX_E_DISK_OUTOFRANGE:
    case VIX_E_FILE_NAME_INVALID:
        return NFC_ERROR_BAD_PARAMETER;
    case VIX_E_FILE_ACCESS_ERROR:
    case VIX_E_FILE_READ_ONLY:
    case VIX_E_HOST_USER_PERMISSIONS:
        return NFC_ERROR_PERMISSION;
    default:
        return NFC_ERROR_OTHER;
    }
}

/* Foreign clients know some failures by words of VMware's hosts only. */
static const char *known_words(VixError code)
{
    switch (code) {
    case VIX_E_FILE_NOT_FOUND:
        return "Could not find the file: ";
    case VIX_E_FILE_ALREADY_LOCKED:
        return "Failed to lock the file: ";
    case VIX_E_DISK_FULL:
        return "No space left on device: ";
    case VIX_E_FILE_READ_ONLY:
    case VIX_E_FILE_ACCESS_ERROR:
        return "permission check failed: ";
    default:
        return "";
    }
}

uint32_t nfc_error_of_failure(const struct err *failure, char text[ERR_TEXT_MAX])
{
    const char *sentence = failure->text[0] != '\0' ? failure->text : err_text_of_code(failure->code);

    (void)snprintf(text, ERR_TEXT_MAX, "%s%.900s", known_words(failure->code), sentence);
    return error_code_of(failure->code);
}

static uint32_t put_error(const struct nfc_session *ss, uint32_t op_id, uint32_t code, VixError detail,
                          const char *text, uint8_t *head)
{
    struct nfc_header header = {NFC_AIO_ERROR, NFC_ERROR_LEN, op_id};
    struct nfc_aio_error error = {.code = code, .text_len = (uint32_t)strlen(text)};

    /* the detail is ours: VMware's hosts have something there that only they know */
    error.detail = ss->test.no_extension_word ? 0 : (uint32_t)detail;
    nfc_header_put(&header, head);
    nfc_error_put(&error, head + NFC_HEADER_LEN);
    return error.text_len;
}

VixError nfc_send_error(struct nfc_session *ss, uint32_t op_id, uint32_t code, VixError detail, const char *text,
                        struct err *err)
{
    uint8_t head[NFC_HEADER_LEN + NFC_ERROR_LEN];
    uint32_t text_len = put_error(ss, op_id, code, detail, text, head);

    return nfc_send(ss, head, sizeof head, text, text_len, err);
}

VixError nfc_send_failure(struct nfc_session *ss, uint32_t op_id, const struct err *failure, struct err *err)
{
    char text[ERR_TEXT_MAX];
    uint32_t code = nfc_error_of_failure(failure, text);

    return nfc_send_error(ss, op_id, code, failure->code, text, err);
}

void nfc_out_error(const struct nfc_session *ss, struct nfc_out *out, uint32_t op_id, uint32_t code, VixError detail,
                   const char *text)
{
    out->body_len = put_error(ss, op_id, code, detail, text, out->head);
    out->body = text;
    out->head_len = NFC_HEADER_LEN + NFC_ERROR_LEN;
}

/* ---- the queue ---- */

static int add_pieces(const struct nfc_out *out, struct iovec *iov)
{
    iov[0] = piece(out->head, out->head_len);
    iov[1] = piece(out->body, out->body_len);
    return out->body_len > 0 ? 2 : 1;
}

/* Sends a list, or, on a connection that is lost, only says that it is done. */
static void send_list(struct nfc_session *ss, struct nfc_out *list)
{
    struct iovec iov[2 * SERVER_BATCH];
    struct err err;
    int count = 0;

    for (const struct nfc_out *out = list; out != NULL; out = out->next) {
        count += add_pieces(out, iov + count);
    }
    err_init(&err);
    if (!nfc_session_broken(ss) && write_pieces(ss, iov, count, &err) != VIX_OK) {
        nfc_session_break(ss, &err);
    }
    while (list != NULL) {
        struct nfc_out *out = list;
        list = out->next;
        out->done(ss, out);
    }
}

void nfc_out_send(struct nfc_session *ss, struct nfc_out *out)
{
    out->next = NULL;
    send_list(ss, out);
}

void nfc_out_keep(struct nfc_session *ss, struct nfc_out *out)
{
    out->next = ss->kept;
    ss->kept = out;
    if (++ss->kept_count == SERVER_BATCH) {
        nfc_out_flush(ss);
    }
}

void nfc_out_flush(struct nfc_session *ss)
{
    struct nfc_out *list = NULL;

    if (ss->kept == NULL) {
        return;
    }
    while (ss->kept != NULL) { /* oldest first */
        struct nfc_out *out = ss->kept;
        ss->kept = out->next;
        out->next = list;
        list = out;
    }
    ss->kept_count = 0;
    send_list(ss, list);
}

static void append(struct nfc_sender *sender, struct nfc_out *out)
{
    out->next = NULL;
    *sender->last = out;
    sender->last = &out->next;
    sender->queued++;
}

static struct nfc_out *take_after(struct nfc_sender *sender, struct nfc_out **link)
{
    struct nfc_out *out = *link;

    *link = out->next;
    if (out->next == NULL) {
        sender->last = link;
    }
    out->next = NULL;
    sender->queued--;
    return out;
}

/* One of those that wait, by chance (tests). */
static struct nfc_out *take_any(struct nfc_session *ss)
{
    struct nfc_out **link = &ss->sender.first;

    for (uint64_t n = nfc_session_random(ss) % ss->sender.queued; n > 0; n--) {
        link = &(*link)->next;
    }
    return take_after(&ss->sender, link);
}

/* The next ones to be sent together. Queue not empty, first one due. */
static struct nfc_out *take_batch(struct nfc_session *ss, uint64_t now)
{
    struct nfc_sender *sender = &ss->sender;
    struct nfc_out *list = NULL;
    struct nfc_out **last = &list;

    if (ss->test.shuffle_replies) {
        return take_any(ss);
    }
    for (unsigned n = 0, len = 0;
         n < SERVER_BATCH && len < SERVER_BATCH_BYTES && sender->first != NULL && sender->first->due_ns <= now; n++) {
        len += sender->first->body_len;
        *last = take_after(sender, &sender->first);
        last = &(*last)->next;
    }
    return list;
}

/* Waits until the first of the queue is due. With the lock held, which is released meanwhile. */
static void wait_due(struct nfc_session *ss)
{
    uint64_t due = ss->sender.first->due_ns;
    struct timespec until = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)};

    (void)pthread_cond_timedwait(&ss->sender.wake, &ss->lock, &until);
}

static void *run_sender(void *arg)
{
    struct nfc_session *ss = arg;
    struct nfc_sender *sender = &ss->sender;

    (void)pthread_mutex_lock(&ss->lock);
    for (;;) {
        uint64_t now = ss->test.delay_ms > 0 || ss->test.shuffle_replies ? nfc_now_ns() : 0;
        if (sender->first != NULL && (ss->broken || sender->first->due_ns <= now)) {
            struct nfc_out *list = take_batch(ss, ss->broken ? UINT64_MAX : now);
            (void)pthread_mutex_unlock(&ss->lock);
            send_list(ss, list);
            (void)pthread_mutex_lock(&ss->lock);
        } else if (sender->first != NULL) {
            wait_due(ss);
        } else if (sender->ending) {
            break;
        } else {
            (void)pthread_cond_wait(&sender->wake, &ss->lock);
        }
    }
    (void)pthread_mutex_unlock(&ss->lock);
    return NULL;
}

static bool ensure_sender_locked(struct nfc_session *ss)
{
    if (!ss->sender.started) {
        ss->sender.started = work_thread_start(&ss->sender.thread, "vixdisk-nfc", run_sender, ss) == 0;
    }
    return ss->sender.started;
}

void nfc_out_post(struct nfc_session *ss, struct nfc_out *out)
{
    out->due_ns = 0;
    if (ss->test.delay_ms > 0) {
        out->due_ns = nfc_now_ns() + ss->test.delay_ms * (uint64_t)NS_PER_MS;
    } else if (ss->test.shuffle_replies) {
        out->due_ns = nfc_now_ns() + SHUFFLE_WAIT_NS;
    }
    (void)pthread_mutex_lock(&ss->lock);
    if (ensure_sender_locked(ss)) {
        append(&ss->sender, out);
        if (ss->sender.queued == 1) {
            (void)pthread_cond_signal(&ss->sender.wake);
        }
        out = NULL;
    }
    (void)pthread_mutex_unlock(&ss->lock);
    if (out != NULL) {
        nfc_out_send(ss, out);
    }
}

void nfc_sender_end(struct nfc_session *ss)
{
    (void)pthread_mutex_lock(&ss->lock);
    ss->sender.ending = true;
    (void)pthread_cond_signal(&ss->sender.wake);
    (void)pthread_mutex_unlock(&ss->lock);
    if (ss->sender.started) {
        (void)pthread_join(ss->sender.thread, NULL);
        ss->sender.started = false;
    }
}
