/* SPDX-License-Identifier: BSD-3-Clause */
/* The layouts of classic messages and of AIO frames, field by field. Offsets are those of the messages that VMware's
 * library and hosts were seen to exchange. */
#include "nfc/wire.h"

#include "base/bytes.h"

/* ---- classic messages ---- */

void nfc_classic_put(uint32_t type, uint8_t frame[NFC_CLASSIC_LEN])
{
    memset(frame, 0, NFC_CLASSIC_LEN);
    put_le32(frame, type);
}

uint32_t nfc_classic_type(const uint8_t frame[NFC_CLASSIC_LEN])
{
    return get_le32(frame);
}

void nfc_classic_put_tag(const char *tag, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_CLIENT_TAG, frame);
    memcpy(frame + 4, tag, strnlen(tag, NFC_TAG_MAX));
}

void nfc_classic_get_tag(const uint8_t frame[NFC_CLASSIC_LEN], char ret_tag[NFC_TAG_MAX + 1])
{
    memcpy(ret_tag, frame + 4, NFC_TAG_MAX);
    ret_tag[NFC_TAG_MAX] = '\0';
    if (!nfc_tag_is_valid(ret_tag)) {
        ret_tag[0] = '\0';
    }
}

void nfc_classic_put_status(bool speaks_version, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_FILEOP_STATUS, frame);
    put_le32(frame + 16, speaks_version);
}

void nfc_classic_get_status(const uint8_t frame[NFC_CLASSIC_LEN], struct nfc_classic_status *ret_status)
{
    ret_status->error_len = get_le32(frame + 4);
    ret_status->data_len = get_le32(frame + 8);
    ret_status->failed = get_le16(frame + 12);
    ret_status->succeeded = get_le16(frame + 14);
    ret_status->speaks_version = get_le32(frame + 16) != 0;
}

uint32_t nfc_classic_get_list_len(const uint8_t frame[NFC_CLASSIC_LEN])
{
    return get_le32(frame + 4);
}

void nfc_classic_put_version(uint32_t version, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_VERSION, frame);
    put_le32(frame + 4, version);
}

uint32_t nfc_classic_get_version(const uint8_t frame[NFC_CLASSIC_LEN])
{
    return get_le32(frame + 4);
}

void nfc_classic_put_connection(uint32_t name_len, uint32_t operation_len, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_CONNECTION_DATA, frame);
    put_le32(frame + 4, name_len);
    put_le32(frame + 8, operation_len);
}

void nfc_classic_get_connection(const uint8_t frame[NFC_CLASSIC_LEN], uint32_t *ret_name_len,
                                uint32_t *ret_operation_len)
{
    *ret_name_len = get_le32(frame + 4);
    *ret_operation_len = get_le32(frame + 8);
}

void nfc_classic_put_features(uint32_t features, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_FEATURES, frame);
    put_le32(frame + 4, features);
}

void nfc_classic_put_error(const struct nfc_classic_error *error, uint8_t frame[NFC_CLASSIC_LEN])
{
    nfc_classic_put(NFC_CLASSIC_ERROR, frame);
    put_le32(frame + 4, error->type);
    put_le32(frame + 8, error->code);
    put_le32(frame + 12, error->text_len);
}

void nfc_classic_get_error(const uint8_t frame[NFC_CLASSIC_LEN], struct nfc_classic_error *ret_error)
{
    ret_error->type = get_le32(frame + 4);
    ret_error->code = get_le32(frame + 8);
    ret_error->text_len = get_le32(frame + 12);
}

/* ---- AIO frames ---- */

void nfc_header_put(const struct nfc_header *header, uint8_t bytes[NFC_HEADER_LEN])
{
    put_le32(bytes, NFC_AIO_MAGIC);
    put_le32(bytes + 4, header->type);
    put_le32(bytes + 8, header->payload_len);
    put_le32(bytes + 12, header->op_id);
}

bool nfc_header_get(const uint8_t bytes[NFC_HEADER_LEN], struct nfc_header *ret_header)
{
    if (get_le32(bytes) != NFC_AIO_MAGIC) {
        return false;
    }
    ret_header->type = get_le32(bytes + 4);
    ret_header->payload_len = get_le32(bytes + 8);
    ret_header->op_id = get_le32(bytes + 12);
    return true;
}

void nfc_error_put(const struct nfc_aio_error *error, uint8_t payload[NFC_ERROR_LEN])
{
    put_le32(payload, error->code);
    put_le32(payload + 4, 0);
    put_le32(payload + 8, error->detail);
    put_le32(payload + 12, error->text_len);
}

void nfc_error_get(const uint8_t payload[NFC_ERROR_LEN], struct nfc_aio_error *ret_error)
{
    ret_error->code = get_le32(payload);
    ret_error->detail = get_le32(payload + 8);
    ret_error->text_len = get_le32(payload + 12);
}

void nfc_open_session_put(const struct nfc_open_session *session, uint8_t payload[NFC_OPEN_SESSION_LEN])
{
    put_le32(payload, session->flags);
    put_le32(payload + 4, session->buffer_size);
    put_le32(payload + 8, session->buffer_count);
    put_le32(payload + 12, 0);
}

void nfc_open_session_get(const uint8_t payload[NFC_OPEN_SESSION_LEN], struct nfc_open_session *ret_session)
{
    ret_session->flags = get_le32(payload);
    ret_session->buffer_size = get_le32(payload + 4);
    ret_session->buffer_count = get_le32(payload + 8);
}

void nfc_sock_opts_put(const struct nfc_sock_opts *opts, uint8_t payload[NFC_SOCK_OPTS_LEN])
{
    put_le32(payload, opts->send_size);
    put_le32(payload + 4, opts->receive_size);
    put_le32(payload + 8, opts->flags);
}

void nfc_sock_opts_get(const uint8_t payload[NFC_SOCK_OPTS_LEN], struct nfc_sock_opts *ret_opts)
{
    ret_opts->send_size = get_le32(payload);
    ret_opts->receive_size = get_le32(payload + 4);
    ret_opts->flags = get_le32(payload + 8);
}

void nfc_res_pool_put(uint32_t pool, uint8_t payload[NFC_RES_POOL_LEN])
{
    put_le32(payload, pool);
}

void nfc_open_file_put(const struct nfc_open_file *open, uint8_t payload[NFC_OPEN_FILE_LEN])
{
    memset(payload, 0, NFC_OPEN_FILE_LEN);
    put_le32(payload, open->path_len);
    put_le32(payload + 16, open->file_type);
    put_le32(payload + 20, open->flags);
}

void nfc_open_file_get(const uint8_t payload[NFC_OPEN_FILE_LEN], struct nfc_open_file *ret_open)
{
    ret_open->path_len = get_le32(payload);
    ret_open->file_type = get_le32(payload + 16);
    ret_open->flags = get_le32(payload + 20);
}

void nfc_open_reply_put(const struct nfc_open_file_reply *reply, uint8_t payload[NFC_OPEN_FILE_LEN])
{
    memset(payload, 0, NFC_OPEN_FILE_LEN);
    put_le64(payload, reply->status);
    put_le64(payload + 8, reply->handle);
    put_le32(payload + 16, reply->file_type);
    put_le32(payload + 20, reply->flags);
    put_le64(payload + 28, reply->capacity);
    put_le32(payload + 36, reply->sector_size);
    put_le32(payload + 40, reply->cylinders);
    put_le32(payload + 44, reply->heads);
    put_le32(payload + 48, reply->sectors);
}

void nfc_open_reply_get(const uint8_t payload[NFC_OPEN_FILE_LEN], struct nfc_open_file_reply *ret_reply)
{
    ret_reply->status = get_le64(payload);
    ret_reply->handle = get_le64(payload + 8);
    ret_reply->file_type = get_le32(payload + 16);
    ret_reply->flags = get_le32(payload + 20);
    ret_reply->capacity = get_le64(payload + 28);
    ret_reply->sector_size = get_le32(payload + 36);
    ret_reply->cylinders = get_le32(payload + 40);
    ret_reply->heads = get_le32(payload + 44);
    ret_reply->sectors = get_le32(payload + 48);
}

void nfc_handle_put(uint64_t handle, uint8_t payload[NFC_HANDLE_LEN])
{
    put_le64(payload, handle);
}

uint64_t nfc_handle_get(const uint8_t payload[NFC_HANDLE_LEN])
{
    return get_le64(payload);
}

void nfc_io_put(const struct nfc_io *io, uint8_t payload[NFC_IO_LEN])
{
    put_le64(payload, io->handle);
    put_le32(payload + 8, io->direction);
    put_le32(payload + 12, io->compression);
    put_le64(payload + 16, io->off);
    put_le32(payload + 24, io->total);
    put_le32(payload + 28, io->part_off);
    put_le32(payload + 32, io->part_len);
    put_le32(payload + 36, io->extra_len);
    put_le32(payload + 40, 0);
}

void nfc_io_get(const uint8_t payload[NFC_IO_LEN], struct nfc_io *ret_io)
{
    ret_io->handle = get_le64(payload);
    ret_io->direction = get_le32(payload + 8);
    ret_io->compression = get_le32(payload + 12);
    ret_io->off = get_le64(payload + 16);
    ret_io->total = get_le32(payload + 24);
    ret_io->part_off = get_le32(payload + 28);
    ret_io->part_len = get_le32(payload + 32);
    ret_io->extra_len = get_le32(payload + 36);
}

void nfc_ddb_get_put(uint64_t handle, uint32_t key_len, uint8_t payload[NFC_DDB_GET_LEN])
{
    put_le64(payload, handle);
    put_le32(payload + 8, key_len);
    put_le32(payload + 12, 0);
}

void nfc_ddb_get_get(const uint8_t payload[NFC_DDB_GET_LEN], uint64_t *ret_handle, uint32_t *ret_key_len)
{
    *ret_handle = get_le64(payload);
    *ret_key_len = get_le32(payload + 8);
}

void nfc_ddb_reply_put(uint32_t value_len, uint8_t payload[NFC_DDB_GET_LEN])
{
    memset(payload, 0, NFC_DDB_GET_LEN);
    put_le32(payload + 12, value_len);
}

uint32_t nfc_ddb_reply_get(const uint8_t payload[NFC_DDB_GET_LEN])
{
    return get_le32(payload + 12);
}

void nfc_query_put(const struct nfc_query_blocks *query, uint8_t payload[NFC_QUERY_BLOCKS_LEN])
{
    put_le64(payload, query->handle);
    put_le32(payload + 8, query->first_link);
    put_le32(payload + 12, query->nlinks);
    put_le64(payload + 16, query->chunk);
    put_le64(payload + 24, query->start);
    put_le64(payload + 32, query->nchunks);
    put_le64(payload + 40, 0);
}

void nfc_query_get(const uint8_t payload[NFC_QUERY_BLOCKS_LEN], struct nfc_query_blocks *ret_query)
{
    ret_query->handle = get_le64(payload);
    ret_query->first_link = get_le32(payload + 8);
    ret_query->nlinks = get_le32(payload + 12);
    ret_query->chunk = get_le64(payload + 16);
    ret_query->start = get_le64(payload + 24);
    ret_query->nchunks = get_le64(payload + 32);
}

void nfc_query_reply_put(uint64_t nchunks, uint8_t payload[NFC_QUERY_BLOCKS_LEN])
{
    memset(payload, 0, NFC_QUERY_BLOCKS_LEN);
    put_le64(payload + 32, nchunks);
}

uint64_t nfc_query_reply_get(const uint8_t payload[NFC_QUERY_BLOCKS_LEN])
{
    return get_le64(payload + 32);
}

/* ---- our own messages ---- */

void nfc_x_ddb_set_put(const struct nfc_x_ddb_set *set, uint8_t payload[NFC_X_DDB_SET_LEN])
{
    put_le64(payload, set->handle);
    put_le32(payload + 8, set->key_len);
    put_le32(payload + 12, set->value_len);
}

void nfc_x_ddb_set_get(const uint8_t payload[NFC_X_DDB_SET_LEN], struct nfc_x_ddb_set *ret_set)
{
    ret_set->handle = get_le64(payload);
    ret_set->key_len = get_le32(payload + 8);
    ret_set->value_len = get_le32(payload + 12);
}

void nfc_x_keys_put(uint32_t count, uint32_t len, uint8_t payload[NFC_X_REPLY_LEN])
{
    put_le32(payload, count);
    put_le32(payload + 4, len);
}

void nfc_x_keys_get(const uint8_t payload[NFC_X_REPLY_LEN], uint32_t *ret_count, uint32_t *ret_len)
{
    *ret_count = get_le32(payload);
    *ret_len = get_le32(payload + 4);
}

void nfc_x_create_put(const struct nfc_x_create *create, uint8_t payload[NFC_X_CREATE_LEN])
{
    put_le32(payload, create->path_len);
    put_le32(payload + 4, create->type);
    put_le32(payload + 8, create->adapter);
    put_le32(payload + 12, create->hw_version);
    put_le64(payload + 16, create->capacity);
}

void nfc_x_create_get(const uint8_t payload[NFC_X_CREATE_LEN], struct nfc_x_create *ret_create)
{
    ret_create->path_len = get_le32(payload);
    ret_create->type = get_le32(payload + 4);
    ret_create->adapter = get_le32(payload + 8);
    ret_create->hw_version = get_le32(payload + 12);
    ret_create->capacity = get_le64(payload + 16);
}
