/* SPDX-License-Identifier: BSD-3-Clause */
/* AIO frames on the reader's thread: takes each, and answers all but message 7. Whatever is wrong with one request is
 * its answer, an ERROR; only what leaves it unknown where the next frame begins ends the connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "nfc/server_int.h"

#define SECTOR 512u
#define BUFFER_SIZE_MIN (64u << 10)
#define SOCKET_BUFFER_SIZE 1675000u     /* told to clients that ask, as VMware's hosts do */
#define HANDLE_BASE 0xFFFFFFFF80000000u /* real ones look like that */

typedef VixError handler_func(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                              struct err *err);

static VixError refuse(struct nfc_session *ss, const struct nfc_header *header, const char *text, struct err *err)
{
    return nfc_send_error(ss, header->op_id, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_ARG, text, err);
}

/* As many bytes as the request had, so that any client's idea of the length is met. */
static VixError reply_same(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                           struct err *err)
{
    uint32_t len = (uint32_t)min_u64(header->payload_len, NFC_PAYLOAD_KEPT);

    return nfc_send_payload(ss, header, payload, len, err);
}

static VixError reply_zeros(struct nfc_session *ss, const struct nfc_header *header, struct err *err)
{
    static const uint8_t zeros[NFC_PAYLOAD_KEPT];

    return reply_same(ss, header, zeros, err);
}

static VixError reply_extension(struct nfc_session *ss, const struct nfc_header *header, const struct err *failure,
                                struct err *err)
{
    static const uint8_t zeros[NFC_X_REPLY_LEN];

    return failure->code != VIX_OK ? nfc_send_failure(ss, header->op_id, failure, err)
                                   : nfc_send_payload(ss, header, zeros, sizeof zeros, err);
}

static VixError reply_with_extra(struct nfc_session *ss, const struct nfc_header *request, const uint8_t *payload,
                                 uint32_t payload_len, const void *extra, size_t extra_len, struct err *err)
{
    struct nfc_header header = {request->type, payload_len, request->op_id};
    uint8_t head[NFC_HEADER_LEN + NFC_PAYLOAD_KEPT];

    nfc_header_put(&header, head);
    memcpy(head + NFC_HEADER_LEN, payload, payload_len);
    return nfc_send(ss, head, NFC_HEADER_LEN + payload_len, extra, extra_len, err);
}

/* The text of len bytes that follows. *ret_text NULL: it is not one (longer than max, empty, zero bytes in it). */
static VixError take_text(struct nfc_session *ss, uint32_t len, uint32_t max, char **ret_text, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    VixError code;

    if (len > NFC_TEXT_MAX) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: a text of %u bytes; at most %u are allowed",
                       ss->stream->peer, len, NFC_TEXT_MAX);
    }
    text = alloc_zero((size_t)len + 1, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    code = nfc_input_read(&ss->in, text, len, err);
    if (code == VIX_OK) {
        *ret_text = len > 0 && len <= max && memchr(text, 0, len) == NULL ? TAKE_PTR(text) : NULL;
    }
    return code;
}

static bool is_open(const struct nfc_session *ss, uint64_t handle)
{
    return ss->disk != NULL && handle == ss->handle;
}

static VixError refuse_handle(struct nfc_session *ss, const struct nfc_header *header, struct err *err)
{
    return nfc_send_error(ss, header->op_id, NFC_ERROR_BAD_PARAMETER, VIX_E_INVALID_HANDLE,
                          "no disk is open under this handle", err);
}

/* ---- the session ---- */

static VixError open_session(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                             struct err *err)
{
    struct nfc_open_session wanted;
    uint32_t size;
    uint32_t count;
    char text[160];

    nfc_open_session_get(payload, &wanted);
    size = wanted.buffer_size != 0 ? wanted.buffer_size : NFC_BUFFER_DEFAULT;
    count = wanted.buffer_count != 0 ? wanted.buffer_count : NFC_BUFFER_COUNT_DEFAULT;
    if (ss->in_session) {
        return refuse(ss, header, "the session is open already", err);
    }
    if (size < BUFFER_SIZE_MIN || size > NFC_BUFFER_MAX || size % SECTOR != 0 ||
        (uint64_t)size * count > NFC_BUFFER_TOTAL_MAX) {
        (void)snprintf(text, sizeof text, "%u buffers of %u bytes; allowed are %u to %u bytes, and %u bytes in all",
                       count, size, BUFFER_SIZE_MIN, NFC_BUFFER_MAX, NFC_BUFFER_TOTAL_MAX);
        return refuse(ss, header, text, err);
    }
    ss->in_session = true;
    ss->buffer_size = size;
    return reply_zeros(ss, header, err);
}

static VixError close_disk(struct nfc_session *ss, struct err *err)
{
    struct nfc_host_disk *disk = ss->disk;

    ss->disk = NULL;
    return disk != NULL ? ss->how->ops->close(disk, err) : VIX_OK;
}

static VixError close_session(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                              struct err *err)
{
    struct err failure;

    (void)payload;
    nfc_io_settle(ss);
    err_init(&failure);
    ss->ended = true;
    failure.code = close_disk(ss, &failure);
    if (failure.code != VIX_OK) {
        return nfc_send_failure(ss, header->op_id, &failure, err);
    }
    return reply_zeros(ss, header, err);
}

static VixError set_sock_opts(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                              struct err *err)
{
    uint8_t reply[NFC_PAYLOAD_KEPT] = {0};
    struct nfc_sock_opts opts;

    nfc_sock_opts_get(payload, &opts);
    opts.send_size = opts.send_size != 0 ? opts.send_size : SOCKET_BUFFER_SIZE;
    opts.receive_size = opts.receive_size != 0 ? opts.receive_size : SOCKET_BUFFER_SIZE;
    opts.flags = 1;
    nfc_sock_opts_put(&opts, reply);
    return reply_same(ss, header, reply, err);
}

static VixError set_res_pool(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                             struct err *err)
{
    return reply_same(ss, header, payload, err);
}

/* Its layout is not known but for what looks like the length of a key. */
static VixError get_file_info(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                              struct err *err)
{
    uint32_t key_len = header->payload_len >= 12 ? get_le32(payload + 8) : 0;
    VixError code = nfc_send_error(ss, header->op_id, NFC_ERROR_UNSUPPORTED, VIX_E_NOT_SUPPORTED,
                                   "GET_FILE_INFO is not supported", err);

    if (code == VIX_OK && key_len > NFC_KEY_MAX) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: GET_FILE_INFO of an unknown length", ss->stream->peer);
    }
    return code == VIX_OK ? nfc_input_drop(&ss->in, key_len, err) : code;
}

/* ---- the disk ---- */

/* An ERROR, and the zeros of a reply behind it: clients wait for both. */
static VixError refuse_open(struct nfc_session *ss, const struct nfc_header *header, const struct err *failure,
                            struct err *err)
{
    static const uint8_t zeros[NFC_OPEN_FILE_LEN];
    VixError code = nfc_send_failure(ss, header->op_id, failure, err);

    return code == VIX_OK ? nfc_send_payload(ss, header, zeros, sizeof zeros, err) : code;
}

static VixError open_on_host(struct nfc_session *ss, const struct nfc_open_file *open, const char *path,
                             struct err *err)
{
    VixError code;

    if (!ss->in_session) {
        return err_set(err, VIX_E_INVALID_ARG, "no session is open");
    }
    if (ss->disk != NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "a disk is open already");
    }
    if (path == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "the path is empty, longer than %u bytes, or has a zero byte in it",
                       NFC_PATH_MAX);
    }
    if (open->file_type != NFC_FILE_DISK && open->file_type != NFC_FILE_DELTA_DISK) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "files of type %u are not served", open->file_type);
    }
    code = ss->how->ops->open(ss->how->host, ss->grant, path, open->flags, &ss->disk, &ss->info, err);
    if (code != VIX_OK) {
        ss->disk = NULL;
        return code;
    }
    ss->read_only = (open->flags & NFC_OPEN_READ_ONLY) != 0;
    ss->handle = HANDLE_BASE + ss->handles++;
    return VIX_OK;
}

static VixError open_file(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                          struct err *err)
{
    struct nfc_open_file open;
    struct nfc_open_file_reply reply = {0};
    uint8_t bytes[NFC_OPEN_FILE_LEN];
    CLEANUP_FREE char *path = NULL;
    struct err failure;
    VixError code;

    nfc_open_file_get(payload, &open);
    code = take_text(ss, open.path_len, NFC_PATH_MAX, &path, err);
    if (code != VIX_OK) {
        return code;
    }
    err_init(&failure);
    failure.code = open_on_host(ss, &open, path, &failure);
    if (failure.code != VIX_OK) {
        return refuse_open(ss, header, &failure, err);
    }
    reply.handle = ss->handle;
    reply.file_type = open.file_type;
    reply.flags = open.flags;
    reply.capacity = ss->info.capacity;
    reply.sector_size = ss->info.sector_size;
    reply.cylinders = ss->info.cylinders;
    reply.heads = ss->info.heads;
    reply.sectors = ss->info.sectors;
    nfc_open_reply_put(&reply, bytes);
    code = nfc_send_payload(ss, header, bytes, sizeof bytes, err);
    stream_set_deadline(ss->stream, 0); /* from now on the time-outs hold */
    return code;
}

static VixError close_file(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                           struct err *err)
{
    struct err failure;

    if (!is_open(ss, nfc_handle_get(payload))) {
        return refuse_handle(ss, header, err);
    }
    nfc_io_settle(ss);
    nfc_io_fail_incomplete(ss, "the disk was closed before all of the write came");
    err_init(&failure);
    failure.code = close_disk(ss, &failure);
    if (failure.code != VIX_OK) {
        return nfc_send_failure(ss, header->op_id, &failure, err);
    }
    return reply_zeros(ss, header, err);
}

static VixError ddb_get(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                        struct err *err)
{
    CLEANUP_FREE char *key = NULL;
    CLEANUP_FREE char *value = NULL;
    uint8_t reply[NFC_DDB_GET_LEN];
    struct err failure;
    uint64_t handle;
    uint32_t key_len;
    size_t value_len;
    VixError code;

    nfc_ddb_get_get(payload, &handle, &key_len);
    code = take_text(ss, key_len, NFC_KEY_MAX, &key, err);
    if (code != VIX_OK) {
        return code;
    }
    if (!is_open(ss, handle)) {
        return refuse_handle(ss, header, err);
    }
    if (key == NULL) {
        return refuse(ss, header, "the key is empty, too long, or has a zero byte in it", err);
    }
    err_init(&failure);
    code = ss->how->ops->meta_get(ss->disk, key, &value, &failure);
    failure.code = code;
    if (code != VIX_OK && code != VIX_E_DISK_KEY_NOTFOUND) {
        return nfc_send_failure(ss, header->op_id, &failure, err);
    }
    value_len = code == VIX_OK ? strnlen(value, NFC_VALUE_MAX) : 0;
    nfc_ddb_reply_put((uint32_t)value_len, reply);
    return reply_with_extra(ss, header, reply, sizeof reply, value, value_len, err);
}

/* ---- allocated blocks ---- */

static VixError check_query(const struct nfc_session *ss, const struct nfc_query_blocks *query, struct err *err)
{
    uint64_t len;
    uint64_t end;

    if (query->chunk == 0 || query->chunk % SECTOR != 0 || query->start % query->chunk != 0) {
        return err_set(err, VIX_E_INVALID_ARG, "chunks must be whole sectors, and the start whole chunks");
    }
    if (query->nchunks == 0 || query->nchunks > NFC_QUERY_CHUNKS_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%llu chunks; 1 to %u are allowed", (unsigned long long)query->nchunks,
                       NFC_QUERY_CHUNKS_MAX);
    }
    if (!checked_mul(query->nchunks, query->chunk, &len) || !checked_add(query->start, len, &end) ||
        end > ss->info.capacity) {
        return err_set(err, VIX_E_DISK_OUTOFRANGE,
                       "%llu chunks of %llu bytes from byte %llu are beyond the disk's "
                       "capacity of %llu bytes",
                       (unsigned long long)query->nchunks, (unsigned long long)query->chunk,
                       (unsigned long long)query->start, (unsigned long long)ss->info.capacity);
    }
    return VIX_OK;
}

static VixError query_blocks(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                             struct err *err)
{
    CLEANUP_FREE uint8_t *bitmap = NULL;
    uint8_t reply[NFC_QUERY_BLOCKS_LEN];
    struct nfc_query_blocks query;
    struct err failure;
    uint32_t nchunks;
    VixError code;

    nfc_query_get(payload, &query);
    if (!is_open(ss, query.handle)) {
        return refuse_handle(ss, header, err);
    }
    err_init(&failure);
    nfc_io_settle(ss); /* what was written before is told of */
    code = check_query(ss, &query, &failure);
    nchunks = (uint32_t)query.nchunks;
    if (code == VIX_OK) {
        bitmap = alloc_zero(nfc_bitmap_len(nchunks), &failure);
        code = bitmap != NULL ? ss->how->ops->allocated(ss->disk, query.chunk, query.start, nchunks, bitmap, &failure)
                              : VIX_E_OUT_OF_MEMORY;
    }
    if (code != VIX_OK) {
        failure.code = code;
        return nfc_send_failure(ss, header->op_id, &failure, err);
    }
    nfc_query_reply_put(nchunks, reply);
    return reply_with_extra(ss, header, reply, sizeof reply, bitmap, nfc_bitmap_len(nchunks), err);
}

/* ---- our own messages ---- */

static VixError x_flush(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                        struct err *err)
{
    struct err failure;

    if (!is_open(ss, nfc_handle_get(payload))) {
        return refuse_handle(ss, header, err);
    }
    nfc_io_settle(ss);
    err_init(&failure);
    failure.code = ss->how->ops->flush(ss->disk, &failure);
    return reply_extension(ss, header, &failure, err);
}

static VixError set_on_host(struct nfc_session *ss, const struct nfc_x_ddb_set *set, const char *key, const char *value,
                            struct err *err)
{
    bool remove = set->value_len == NFC_X_VALUE_NONE;

    if (!is_open(ss, set->handle)) {
        return err_set(err, VIX_E_INVALID_HANDLE, "no disk is open under this handle");
    }
    if (ss->read_only) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "the disk is open read-only");
    }
    if (key == NULL || (value == NULL && !remove && set->value_len != 0)) {
        return err_set(err, VIX_E_INVALID_ARG, "the key is empty, or key or value too long or with a zero byte");
    }
    return ss->how->ops->meta_set(ss->disk, key, remove ? NULL : value != NULL ? value : "", err);
}

static VixError x_ddb_set(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                          struct err *err)
{
    CLEANUP_FREE char *key = NULL;
    CLEANUP_FREE char *value = NULL;
    struct nfc_x_ddb_set set;
    struct err failure;
    VixError code;

    nfc_x_ddb_set_get(payload, &set);
    code = take_text(ss, set.key_len, NFC_KEY_MAX, &key, err);
    if (code == VIX_OK && set.value_len != NFC_X_VALUE_NONE) {
        code = take_text(ss, set.value_len, NFC_VALUE_MAX, &value, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    err_init(&failure);
    failure.code = set_on_host(ss, &set, key, value, &failure);
    return reply_extension(ss, header, &failure, err);
}

static uint32_t count_keys(const char *keys, size_t len)
{
    uint32_t count = 0;

    for (size_t i = 0; i < len; i++) {
        count += keys[i] == '\0';
    }
    return count;
}

static VixError x_ddb_enum(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                           struct err *err)
{
    CLEANUP_FREE char *keys = NULL;
    uint8_t reply[NFC_X_REPLY_LEN];
    struct err failure;
    size_t len = 0;
    VixError code;

    if (!is_open(ss, nfc_handle_get(payload))) {
        return refuse_handle(ss, header, err);
    }
    err_init(&failure);
    code = ss->how->ops->meta_keys(ss->disk, &keys, &len, &failure);
    if (code == VIX_OK && len > NFC_KEYS_MAX) {
        code = err_set(&failure, VIX_E_DISK_INVAL, "the keys have %zu bytes; at most %u are sent", len, NFC_KEYS_MAX);
    }
    if (code != VIX_OK) {
        failure.code = code;
        return nfc_send_failure(ss, header->op_id, &failure, err);
    }
    nfc_x_keys_put(count_keys(keys, len), (uint32_t)len, reply);
    return reply_with_extra(ss, header, reply, sizeof reply, keys, len, err);
}

static VixError x_create_disk(struct nfc_session *ss, const struct nfc_header *header, const uint8_t *payload,
                              struct err *err)
{
    CLEANUP_FREE char *path = NULL;
    struct nfc_x_create create;
    struct err failure;
    VixError code;

    nfc_x_create_get(payload, &create);
    code = take_text(ss, create.path_len, NFC_PATH_MAX, &path, err);
    if (code != VIX_OK) {
        return code;
    }
    if (!ss->in_session || path == NULL || create.capacity == 0 || create.capacity % SECTOR != 0) {
        return refuse(ss, header, "no session, no path, or a capacity that is not whole sectors", err);
    }
    err_init(&failure);
    failure.code = ss->how->ops->create(ss->how->host, ss->grant, path, create.type, create.adapter, create.hw_version,
                                        create.capacity, &failure);
    stream_set_deadline(ss->stream, 0); /* may have taken long */
    return reply_extension(ss, header, &failure, err);
}

/* ---- frames ---- */

/* What is kept goes out unless so many bytes are there to go on with. */
static void flush_before(struct nfc_session *ss, size_t len)
{
    const uint8_t *bytes;

    if (nfc_input_staged(&ss->in, &bytes) < len) {
        nfc_out_flush(ss);
    }
}

struct message {
    uint32_t type;
    uint32_t payload_min; /* 0: any */
    bool extension;
    handler_func *handle;
};

static const struct message messages[] = {
    {NFC_AIO_IO, NFC_IO_LEN, false, nfc_server_io},
    {NFC_AIO_OPEN_SESSION, 0, false, open_session},
    {NFC_AIO_CLOSE_SESSION, 0, false, close_session},
    {NFC_AIO_OPEN_FILE, NFC_OPEN_FILE_LEN, false, open_file},
    {NFC_AIO_CLOSE_FILE, NFC_HANDLE_LEN, false, close_file},
    {NFC_AIO_SET_SOCK_OPTS, 0, false, set_sock_opts},
    {NFC_AIO_GET_FILE_INFO, 0, false, get_file_info},
    {NFC_AIO_DDB_GET, NFC_DDB_GET_LEN, false, ddb_get},
    {NFC_AIO_QUERY_BLOCKS, NFC_QUERY_BLOCKS_LEN, false, query_blocks},
    {NFC_AIO_SET_RES_POOL, 0, false, set_res_pool},
    {NFC_AIO_X_FLUSH, NFC_HANDLE_LEN, true, x_flush},
    {NFC_AIO_X_DDB_SET, NFC_X_DDB_SET_LEN, true, x_ddb_set},
    {NFC_AIO_X_DDB_ENUM, NFC_HANDLE_LEN, true, x_ddb_enum},
    {NFC_AIO_X_CREATE_DISK, NFC_X_CREATE_LEN, true, x_create_disk},
};

static const struct message *find_message(const struct nfc_session *ss, uint32_t type)
{
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        if (messages[i].type == type) {
            return messages[i].extension && ss->test.no_extension_word ? NULL : &messages[i];
        }
    }
    return NULL;
}

static VixError unknown_message(struct nfc_session *ss, const struct nfc_header *header, struct err *err)
{
    (void)nfc_send_error(ss, header->op_id, NFC_ERROR_UNSUPPORTED, VIX_E_NOT_SUPPORTED, "unsupported message", err);
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: message of type %u is not known, nor where the next begins",
                   ss->stream->peer, header->type);
}

static VixError short_message(struct nfc_session *ss, const struct nfc_header *header, uint32_t min, struct err *err)
{
    (void)refuse(ss, header, "the payload is too short", err);
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: message of type %u with a payload of %u bytes instead of %u",
                   ss->stream->peer, header->type, header->payload_len, min);
}

static VixError take_payload(struct nfc_session *ss, const struct nfc_header *header, uint8_t payload[NFC_PAYLOAD_KEPT],
                             struct err *err)
{
    uint32_t kept = (uint32_t)min_u64(header->payload_len, NFC_PAYLOAD_KEPT);
    VixError code;

    if (header->payload_len > NFC_PAYLOAD_MAX) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                       "%s: message of type %u with a payload of %u bytes; at most %u "
                       "are allowed",
                       ss->stream->peer, header->type, header->payload_len, NFC_PAYLOAD_MAX);
    }
    memset(payload, 0, NFC_PAYLOAD_KEPT);
    flush_before(ss, header->payload_len);
    code = nfc_input_read(&ss->in, payload, kept, err);
    return code == VIX_OK ? nfc_input_drop(&ss->in, header->payload_len - kept, err) : code;
}

static VixError serve_frame(struct nfc_session *ss, const struct nfc_header *header, struct err *err)
{
    const struct message *message = find_message(ss, header->type);
    uint8_t payload[NFC_PAYLOAD_KEPT];
    VixError code = take_payload(ss, header, payload, err);

    if (code != VIX_OK) {
        return code;
    }
    if (message == NULL) {
        return unknown_message(ss, header, err);
    }
    if (header->payload_len < message->payload_min) {
        return short_message(ss, header, message->payload_min, err);
    }
    if (header->type != NFC_AIO_IO) {
        nfc_out_flush(ss);
    }
    return message->handle(ss, header, payload, err);
}

/* SESSION_COMPLETE may come in the place of a frame: the classic end of a session. */
static VixError classic_end(struct nfc_session *ss, const uint8_t bytes[NFC_HEADER_LEN], struct err *err)
{
    if (get_le32(bytes) != NFC_CLASSIC_SESSION_COMPLETE) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: a frame begins with 0x%08x instead of 0x%08x",
                       ss->stream->peer, get_le32(bytes), NFC_AIO_MAGIC);
    }
    ss->ended = true;
    return nfc_input_drop(&ss->in, NFC_CLASSIC_LEN - NFC_HEADER_LEN, err);
}

VixError nfc_server_aio(struct nfc_session *ss, struct err *err)
{
    uint8_t bytes[NFC_HEADER_LEN];
    struct nfc_header header;
    bool closed = false;

    while (!ss->ended) {
        bool lost = false;
        flush_before(ss, NFC_HEADER_LEN);
        VixError code = nfc_input_start(&ss->in, bytes, sizeof bytes, &lost, err);
        if (code == VIX_OK && lost) {
            return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the client ended the connection without a word",
                           ss->stream->peer);
        }
        if (code == VIX_OK && !nfc_header_get(bytes, &header)) {
            return classic_end(ss, bytes, err);
        }
        if (code == VIX_OK) {
            code = serve_frame(ss, &header, err);
        }
        if (code != VIX_OK) {
            return code;
        }
        closed = header.type == NFC_AIO_CLOSE_SESSION;
    }
    return closed ? nfc_server_farewell(ss, err) : VIX_OK;
}
