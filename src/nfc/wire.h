/* SPDX-License-Identifier: BSD-3-Clause */
/* wire.h - the bytes of NFC: lines of authd, classic messages of 264 bytes, AIO frames. Shared by both ends; does no
 * I/O. All integers little-endian. Pure functions.
 *
 * put_ functions fill all bytes of their message. get_ functions read exactly the length that is named beside them (a
 * receiver that got a shorter payload has filled the rest with zeros) and check nothing but what they say: values are
 * the peer's, to be checked by the caller before use. */
#ifndef VIXDISK_NFC_WIRE_H
#define VIXDISK_NFC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfc/nfc.h"

/* ---- authd: lines of text ---- */

#define NFC_LINE_MAX 1024u /* limit: bytes of a line of authd, with CR LF and NUL */
#define NFC_TAG_MAX 128u   /* limit: bytes of THUMBPRINT[_SHA2] and message 43 */
#define NFC_TAG_PLAIN "PlainText"

/** What a banner says of the host. */
struct nfc_banner {
    bool ssl;       /* "SSL Required": TLS begins right after it */
    bool nfcssl;    /* "NFCSSL supported": a second TLS for the data */
    bool sha256;    /* "SHA256 supported": THUMBPRINT_SHA2 */
    bool extension; /* NFC_EXTENSION_WORD: our own host */
};

/** The banner as a line with CR LF into text, of at least NFC_LINE_MAX bytes. Returns its length. */
size_t nfc_banner_put(const struct nfc_banner *banner, char *text);

/** Reads a banner (without CR LF); false if the line does not begin with 220. */
bool nfc_banner_get(const char *line, struct nfc_banner *ret_banner);

/** The number at the beginning of a reply (three digits), *ret_text what follows its blank; 0 if there is none. */
unsigned nfc_reply_get(const char *line, const char **ret_text);

/** What a client says to authd. */
enum nfc_command {
    NFC_COMMAND_UNKNOWN,
    NFC_COMMAND_SESSION,
    NFC_COMMAND_BANNER,
    NFC_COMMAND_THUMBPRINT,
    NFC_COMMAND_THUMBPRINT_SHA2,
    NFC_COMMAND_PROXY,
    NFC_COMMAND_QUIT,
};

/** Splits a line (blanks at its end are cut off in it); *ret_arg points into it, "" if there is no argument. */
enum nfc_command nfc_command_get(char *line, char **ret_arg);

/** Whether a text can be a session tag: 1..NFC_TAG_MAX printable characters without blank or colon. */
bool nfc_tag_is_valid(const char *tag);

#define NFC_SERVICE_MAX 16u /* limit: bytes of the name of a ticket's service */

/** The word after PROXY for a ticket's service ("nfc", "vpxa-nfc"): with "ssl" at its end if ssl and it is not there
 * yet. false if it does not fit into text, of NFC_SERVICE_MAX bytes, or is empty. */
bool nfc_service_put(const char *ticket_service, bool ssl, char *text);

/** Reads the word after PROXY: "nfc", "vpxa-nfc", "ha-nfc", each also with "ssl". *ret_service is the word without
 * "ssl", static. false for another one. */
bool nfc_service_get(const char *word, const char **ret_service, bool *ret_ssl);

/* ---- classic messages ---- */

#define NFC_CLASSIC_LEN 264u

enum nfc_classic_type {
    NFC_CLASSIC_SESSION_COMPLETE = 4,
    NFC_CLASSIC_ERROR = 20,
    NFC_CLASSIC_FSSRVR_OPEN = 21,
    NFC_CLASSIC_FILE_COPY = 33, /* with an empty list of names: asks for what the host can do */
    NFC_CLASSIC_FILEOP_STATUS = 36,
    NFC_CLASSIC_CLIENT_TAG = 43,
    NFC_CLASSIC_VERSION = 51,
    NFC_CLASSIC_AIO_OPEN = 52,
    NFC_CLASSIC_CONNECTION_DATA = 54,
    NFC_CLASSIC_FEATURES = 55,
};

#define NFC_VERSION_CLIENT 11u
#define NFC_VERSION_SERVER 11u
#define NFC_VERSION_CONNECTION_DATA 3u /* from this version of the server on 54 and 55 are sent */
#define NFC_FEATURES_CLIENT 3u
#define NFC_CONNECTION_NAME "vddk"
#define NFC_CONNECTION_OPERATION "nbdmode"

/** A message of that type, the rest zeros: complete for 33 (empty list), 52, 4. */
void nfc_classic_put(uint32_t type, uint8_t frame[NFC_CLASSIC_LEN]);
uint32_t nfc_classic_type(const uint8_t frame[NFC_CLASSIC_LEN]);

/** 43. @tag as nfc_tag_is_valid. */
void nfc_classic_put_tag(const char *tag, uint8_t frame[NFC_CLASSIC_LEN]);
/** The tag as text, "" if it is none. */
void nfc_classic_get_tag(const uint8_t frame[NFC_CLASSIC_LEN], char ret_tag[NFC_TAG_MAX + 1]);

/** 36: answer to 33. */
void nfc_classic_put_status(bool speaks_version, uint8_t frame[NFC_CLASSIC_LEN]);
struct nfc_classic_status {
    uint32_t error_len; /* bytes that follow */
    uint32_t data_len;  /* bytes that follow these */
    uint16_t failed;
    uint16_t succeeded;
    bool speaks_version;
};
void nfc_classic_get_status(const uint8_t frame[NFC_CLASSIC_LEN], struct nfc_classic_status *ret_status);

/** 33: bytes of names that follow it; 0 for the question. */
uint32_t nfc_classic_get_list_len(const uint8_t frame[NFC_CLASSIC_LEN]);

/** 51, both ways. */
void nfc_classic_put_version(uint32_t version, uint8_t frame[NFC_CLASSIC_LEN]);
uint32_t nfc_classic_get_version(const uint8_t frame[NFC_CLASSIC_LEN]);

/** 54; the two texts follow the frame, without NUL. */
void nfc_classic_put_connection(uint32_t name_len, uint32_t operation_len, uint8_t frame[NFC_CLASSIC_LEN]);
void nfc_classic_get_connection(const uint8_t frame[NFC_CLASSIC_LEN], uint32_t *ret_name_len,
                                uint32_t *ret_operation_len);

/** 55. */
void nfc_classic_put_features(uint32_t features, uint8_t frame[NFC_CLASSIC_LEN]);

/** 20; text_len bytes (with the NUL) follow. */
struct nfc_classic_error {
    uint32_t type;
    uint32_t code;
    uint32_t text_len;
};
void nfc_classic_put_error(const struct nfc_classic_error *error, uint8_t frame[NFC_CLASSIC_LEN]);
void nfc_classic_get_error(const uint8_t frame[NFC_CLASSIC_LEN], struct nfc_classic_error *ret_error);

/* ---- AIO frames ---- */

#define NFC_AIO_MAGIC 0xA100DA7Au
#define NFC_HEADER_LEN 16u
#define NFC_PAYLOAD_MAX (1u << 20) /* limit: bytes of a payload; more than that is no frame */
#define NFC_PAYLOAD_KEPT 64u       /* as much of a payload as any message needs */

enum nfc_aio_type {
    NFC_AIO_ERROR = 1,
    NFC_AIO_OPEN_SESSION = 2,
    NFC_AIO_CLOSE_SESSION = 3,
    NFC_AIO_OPEN_FILE = 4,
    NFC_AIO_CLOSE_FILE = 5,
    NFC_AIO_IO = 7,
    NFC_AIO_SET_SOCK_OPTS = 9,
    NFC_AIO_GET_FILE_INFO = 10,
    NFC_AIO_DDB_GET = 11,
    NFC_AIO_QUERY_BLOCKS = 13,
    NFC_AIO_SET_RES_POOL = 22,
    /* our own, to hosts with NFC_EXTENSION_WORD in the banner only */
    NFC_AIO_X_FLUSH = 0x4F560001,
    NFC_AIO_X_DDB_SET = 0x4F560002,
    NFC_AIO_X_DDB_ENUM = 0x4F560003,
    NFC_AIO_X_CREATE_DISK = 0x4F560004,
};

/** The header of every frame; payload_len bytes of payload and then the extra follow. */
struct nfc_header {
    uint32_t type;
    uint32_t payload_len;
    uint32_t op_id;
};
void nfc_header_put(const struct nfc_header *header, uint8_t bytes[NFC_HEADER_LEN]);
/** false: not the magic number. */
bool nfc_header_get(const uint8_t bytes[NFC_HEADER_LEN], struct nfc_header *ret_header);

/** 1: answer of a request that failed; text_len bytes of text follow, no NUL. @detail is not looked at by foreign
 * clients and told by our own host only: the VixError. */
#define NFC_ERROR_LEN 16u
struct nfc_aio_error {
    uint32_t code;
    uint32_t detail;
    uint32_t text_len;
};
void nfc_error_put(const struct nfc_aio_error *error, uint8_t payload[NFC_ERROR_LEN]);
void nfc_error_get(const uint8_t payload[NFC_ERROR_LEN], struct nfc_aio_error *ret_error);

/** 2; the reply has the same length, zeros. */
#define NFC_OPEN_SESSION_LEN 16u
struct nfc_open_session {
    uint32_t flags;
    uint32_t buffer_size;  /* 0: NFC_BUFFER_DEFAULT */
    uint32_t buffer_count; /* 0: NFC_BUFFER_COUNT_DEFAULT */
};
#define NFC_BUFFER_COUNT_DEFAULT 4u
#define NFC_BUFFER_TOTAL_MAX (16u << 20) /* limit: bytes of a session's buffers: size times count */
void nfc_open_session_put(const struct nfc_open_session *session, uint8_t payload[NFC_OPEN_SESSION_LEN]);
void nfc_open_session_get(const uint8_t payload[NFC_OPEN_SESSION_LEN], struct nfc_open_session *ret_session);

/** 3; zeros, both ways. */
#define NFC_CLOSE_SESSION_LEN 4u

/** 9, both ways. */
#define NFC_SOCK_OPTS_LEN 12u
struct nfc_sock_opts {
    uint32_t send_size;
    uint32_t receive_size;
    uint32_t flags;
};
void nfc_sock_opts_put(const struct nfc_sock_opts *opts, uint8_t payload[NFC_SOCK_OPTS_LEN]);
void nfc_sock_opts_get(const uint8_t payload[NFC_SOCK_OPTS_LEN], struct nfc_sock_opts *ret_opts);

/** 22: u32 1 as VDDK sends it; the reply is of the same length. */
#define NFC_RES_POOL_LEN 4u
void nfc_res_pool_put(uint32_t pool, uint8_t payload[NFC_RES_POOL_LEN]);

#define NFC_FILE_DISK 2u
#define NFC_FILE_DELTA_DISK 3u

/** 4; path_len bytes of the path follow. */
#define NFC_OPEN_FILE_LEN 60u
struct nfc_open_file {
    uint32_t path_len;
    uint32_t file_type; /* NFC_FILE_ */
    uint32_t flags;     /* NFC_OPEN_ */
};
void nfc_open_file_put(const struct nfc_open_file *open, uint8_t payload[NFC_OPEN_FILE_LEN]);
void nfc_open_file_get(const uint8_t payload[NFC_OPEN_FILE_LEN], struct nfc_open_file *ret_open);

/** The reply to 4. All zeros after an ERROR. */
struct nfc_open_file_reply {
    uint64_t status; /* 0: open */
    uint64_t handle;
    uint32_t file_type;
    uint32_t flags;
    uint64_t capacity; /* bytes */
    uint32_t sector_size;
    uint32_t cylinders;
    uint32_t heads;
    uint32_t sectors;
};
void nfc_open_reply_put(const struct nfc_open_file_reply *reply, uint8_t payload[NFC_OPEN_FILE_LEN]);
void nfc_open_reply_get(const uint8_t payload[NFC_OPEN_FILE_LEN], struct nfc_open_file_reply *ret_reply);

/** 5, and X_FLUSH and X_DDB_ENUM: the handle. */
#define NFC_HANDLE_LEN 8u
void nfc_handle_put(uint64_t handle, uint8_t payload[NFC_HANDLE_LEN]);
uint64_t nfc_handle_get(const uint8_t payload[NFC_HANDLE_LEN]);

/** 7: one layout for both requests and for both replies; extra_len bytes follow in write requests and read replies
 * (in the others there is no extra, whatever the field says). */
#define NFC_IO_LEN 44u
#define NFC_IO_WRITE 0u
#define NFC_IO_READ 1u
struct nfc_io {
    uint64_t handle;      /* of a reply: status, 0 is good */
    uint32_t direction;   /* NFC_IO_ */
    uint32_t compression; /* enum nfc_compression; of a read request: wanted, else of the extra */
    uint64_t off;         /* bytes on the disk, of the whole request */
    uint32_t total;       /* bytes of the whole request */
    uint32_t part_off;    /* bytes, of this fragment within the request */
    uint32_t part_len;    /* bytes, of this fragment when expanded */
    uint32_t extra_len;   /* bytes of it on the wire */
};
void nfc_io_put(const struct nfc_io *io, uint8_t payload[NFC_IO_LEN]);
void nfc_io_get(const uint8_t payload[NFC_IO_LEN], struct nfc_io *ret_io);

/** 11; the key follows. */
#define NFC_DDB_GET_LEN 16u
void nfc_ddb_get_put(uint64_t handle, uint32_t key_len, uint8_t payload[NFC_DDB_GET_LEN]);
void nfc_ddb_get_get(const uint8_t payload[NFC_DDB_GET_LEN], uint64_t *ret_handle, uint32_t *ret_key_len);
/** The reply; the value follows. 0 bytes: there is no such key. */
void nfc_ddb_reply_put(uint32_t value_len, uint8_t payload[NFC_DDB_GET_LEN]);
uint32_t nfc_ddb_reply_get(const uint8_t payload[NFC_DDB_GET_LEN]);

/** 13. */
#define NFC_QUERY_BLOCKS_LEN 48u
#define NFC_QUERY_CHUNKS_MAX (512u * 1024u) /* limit: chunks of one question for allocated blocks */
struct nfc_query_blocks {
    uint64_t handle;
    uint32_t first_link; /* both 0: the whole chain */
    uint32_t nlinks;
    uint64_t chunk;   /* bytes */
    uint64_t start;   /* bytes */
    uint64_t nchunks; /* of the reply too */
};
void nfc_query_put(const struct nfc_query_blocks *query, uint8_t payload[NFC_QUERY_BLOCKS_LEN]);
void nfc_query_get(const uint8_t payload[NFC_QUERY_BLOCKS_LEN], struct nfc_query_blocks *ret_query);
/** The reply; a bitmap of nfc_bitmap_len(nchunks) bytes follows. */
void nfc_query_reply_put(uint64_t nchunks, uint8_t payload[NFC_QUERY_BLOCKS_LEN]);
uint64_t nfc_query_reply_get(const uint8_t payload[NFC_QUERY_BLOCKS_LEN]);

/** Bytes of a bitmap: whole words of 32 bits. */
static inline size_t nfc_bitmap_len(uint32_t nchunks)
{
    return ((size_t)nchunks + 31) / 32 * 4;
}

/* ---- our own messages ---- */

#define NFC_X_REPLY_LEN 8u /* of X_FLUSH, X_DDB_SET, X_CREATE_DISK: zeros; of X_DDB_ENUM: as below */

/** X_DDB_SET; key, then value follow. */
#define NFC_X_DDB_SET_LEN 16u
#define NFC_X_VALUE_NONE 0xFFFFFFFFu /* as value_len: remove the key */
struct nfc_x_ddb_set {
    uint64_t handle;
    uint32_t key_len;
    uint32_t value_len;
};
void nfc_x_ddb_set_put(const struct nfc_x_ddb_set *set, uint8_t payload[NFC_X_DDB_SET_LEN]);
void nfc_x_ddb_set_get(const uint8_t payload[NFC_X_DDB_SET_LEN], struct nfc_x_ddb_set *ret_set);

/** Reply to X_DDB_ENUM; keys, each with a NUL, follow: len bytes. */
void nfc_x_keys_put(uint32_t count, uint32_t len, uint8_t payload[NFC_X_REPLY_LEN]);
void nfc_x_keys_get(const uint8_t payload[NFC_X_REPLY_LEN], uint32_t *ret_count, uint32_t *ret_len);
#define NFC_KEYS_MAX (1u << 20) /* limit: bytes of all keys of metadata */

/** X_CREATE_DISK; path_len bytes of the path follow. */
#define NFC_X_CREATE_LEN 24u
struct nfc_x_create {
    uint32_t path_len;
    uint32_t type;    /* VixDiskLibDiskType */
    uint32_t adapter; /* VixDiskLibAdapterType */
    uint32_t hw_version;
    uint64_t capacity; /* bytes */
};
void nfc_x_create_put(const struct nfc_x_create *create, uint8_t payload[NFC_X_CREATE_LEN]);
void nfc_x_create_get(const uint8_t payload[NFC_X_CREATE_LEN], struct nfc_x_create *ret_create);

#endif
