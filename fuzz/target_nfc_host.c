/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's end of authd and NFC against any client, in clear text. What the protocol hands on to the host must be
 * within what the host has said of the disk. */
#include "peer.h"

#include <string.h>

#include "nfc/server.h"

#define DISK_LEN (1u << 20)

static uint8_t disk_bytes[DISK_LEN];

static VixError host_take_ticket(void *host, const char *session_id, const char *service, const char *peer,
                                 struct nfc_host_grant **ret_grant, struct err *e)
{
    (void)host, (void)peer, (void)service;
    if (strcmp(session_id, "52a1-fuzz") != 0) {
        return err_set(e, VIX_E_HOST_USER_PERMISSIONS, "unknown ticket");
    }
    *ret_grant = (struct nfc_host_grant *)disk_bytes;
    return VIX_OK;
}

static void host_end_grant(void *host, struct nfc_host_grant *grant)
{
    (void)host, (void)grant;
}

static VixError host_open(void *host, struct nfc_host_grant *grant, const char *path, uint32_t flags,
                          struct nfc_host_disk **ret_disk, struct nfc_host_disk_info *ret_info, struct err *e)
{
    (void)host, (void)grant, (void)flags;
    FUZZ_ASSERT(strlen(path) <= NFC_PATH_MAX, "a path of %zu bytes", strlen(path));
    if (path[0] != '[') {
        return err_set(e, VIX_E_FILE_NOT_FOUND, "%s: not there", path);
    }
    *ret_disk = (struct nfc_host_disk *)disk_bytes;
    *ret_info = (struct nfc_host_disk_info){DISK_LEN, 512, 1, 64, 32};
    return VIX_OK;
}

static void check_range(uint64_t off, uint32_t len)
{
    FUZZ_ASSERT(off <= DISK_LEN && len <= DISK_LEN - off && off % 512 == 0 && len % 512 == 0 && len > 0,
                "%u bytes at %llu", len, (unsigned long long)off);
}

static VixError host_read(struct nfc_host_disk *d, uint64_t off, uint32_t len, void *buf, struct err *e)
{
    (void)d, (void)e;
    check_range(off, len);
    memset(buf, (int)(off >> 9), len);
    return VIX_OK;
}

static VixError host_write(struct nfc_host_disk *d, uint64_t off, uint32_t len, const void *buf, struct err *e)
{
    (void)d, (void)e;
    check_range(off, len);
    /* several threads may write: only looked at */
    FUZZ_ASSERT(memchr(buf, 256, 0) == NULL, "never");
    for (const uint8_t *p = buf, *end = p + len; p < end; p += 512) {
        (void)*(const volatile uint8_t *)p;
    }
    return VIX_OK;
}

static VixError host_flush(struct nfc_host_disk *d, struct err *e)
{
    (void)d, (void)e;
    return VIX_OK;
}

static VixError host_allocated(struct nfc_host_disk *d, uint64_t chunk, uint64_t start, uint32_t nchunks,
                               uint8_t *bitmap, struct err *e)
{
    (void)d, (void)e;
    FUZZ_ASSERT(chunk > 0 && start < DISK_LEN && nchunks > 0, "%u chunks of %llu at %llu", nchunks,
                (unsigned long long)chunk, (unsigned long long)start);
    for (uint32_t i = 0; i < nchunks; i += 3) {
        bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    return VIX_OK;
}

static VixError host_meta_get(struct nfc_host_disk *d, const char *key, char **ret_value, struct err *e)
{
    (void)d;
    FUZZ_ASSERT(strlen(key) <= NFC_KEY_MAX, "a key of %zu bytes", strlen(key));
    if (strcmp(key, "adapterType") != 0) {
        return err_set(e, VIX_E_DISK_KEY_NOTFOUND, "no key %s", key);
    }
    *ret_value = strdup("lsilogic");
    return VIX_OK;
}

static VixError host_meta_set(struct nfc_host_disk *d, const char *key, const char *value, struct err *e)
{
    (void)d, (void)e;
    FUZZ_ASSERT(strlen(key) <= NFC_KEY_MAX && (value == NULL || strlen(value) <= NFC_VALUE_MAX), "too long");
    return VIX_OK;
}

static VixError host_meta_keys(struct nfc_host_disk *d, char **ret_keys, size_t *ret_len, struct err *e)
{
    static const char keys[] = "adapterType\0uuid";

    (void)d, (void)e;
    *ret_keys = malloc(sizeof keys);
    memcpy(*ret_keys, keys, sizeof keys);
    *ret_len = sizeof keys;
    return VIX_OK;
}

static VixError host_close(struct nfc_host_disk *d, struct err *e)
{
    (void)d, (void)e;
    return VIX_OK;
}

static VixError host_create(void *host, struct nfc_host_grant *grant, const char *path, uint32_t type, uint32_t adapter,
                            uint32_t hw_version, uint64_t capacity, struct err *e)
{
    (void)host, (void)grant, (void)type, (void)adapter, (void)hw_version, (void)capacity, (void)e;
    FUZZ_ASSERT(strlen(path) <= NFC_PATH_MAX, "a path of %zu bytes", strlen(path));
    return VIX_OK;
}

static const struct nfc_host_ops host_ops = {
    .take_ticket = host_take_ticket,
    .end_grant = host_end_grant,
    .open = host_open,
    .read = host_read,
    .write = host_write,
    .flush = host_flush,
    .allocated = host_allocated,
    .meta_get = host_meta_get,
    .meta_set = host_meta_set,
    .meta_keys = host_meta_keys,
    .close = host_close,
    .create = host_create,
};

static struct work_pool *pool;

static void free_pool(void)
{
    work_pool_free(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nfc_serve how = {
        .ops = &host_ops,
        .handshake_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .write_timeout_ms = 5000,
        .in_flight_max = 8,
    };
    struct err err;

    err_init(&err);
    if (pool == NULL) {
        FUZZ_ASSERT(work_pool_new(2, &pool, NULL) == VIX_OK, "no memory");
        (void)atexit(free_pool);
    }
    how.pool = pool;
    VixError code = nfc_serve(peer_stream(data, size, false), &how, &err);
    FUZZ_ASSERT(code == VIX_OK || err.text[0] != '\0', "code %d without a sentence", (int)code);
    return 0;
}
