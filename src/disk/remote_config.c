/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk/remote_config.h"

#include <stddef.h>

#include "base/config.h"
#include "disk/queue.h"

/* A third of the 30 minutes after which vCenter ends a session, and for which a disk is known to stay open on ESXi
 * without a request; a sixth of what vixdiskd allows if it is not told otherwise. */
#define KEEP_ALIVE_MS (600u * 1000) /* own: of silence */

/** A time-out in milliseconds. 0 is "none" in VMware's library; here every wait has an end. */
static unsigned timeout_ms(const char *key, unsigned fallback)
{
    unsigned ms = (unsigned)config_number(key, fallback, 0, 24u * 3600 * 1000);
    return ms != 0 ? ms : fallback;
}

/** Both spellings are in use. */
static bool verifies(void)
{
    return config_bool(CONFIG_SSL_VERIFY, config_bool(CONFIG_SSL_VERIFY_SHORT, true));
}

struct remote_config remote_read_config(void)
{
    uint64_t units = config_number(CONFIG_NFC_BUFFER_64K, config_number(CONFIG_NFC_BUFFER_64K_ALT, 0, 0, 32), 0, 32);

    return (struct remote_config){
        .insecure = !verifies(),
        .ca_file = config_text(CONFIG_CA_FILE),
        .connect_ms = timeout_ms(CONFIG_NFC_ACCEPT_TIMEOUT, 10u * 1000),
        .handshake_ms = timeout_ms(CONFIG_NFC_REQUEST_TIMEOUT, 60u * 1000),
        .read_ms = timeout_ms(CONFIG_NFC_READ_TIMEOUT, 60u * 1000),
        .write_ms = timeout_ms(CONFIG_NFC_WRITE_TIMEOUT, 600u * 1000),
        .call_ms = timeout_ms(CONFIG_CALL_TIMEOUT, 120u * 1000),
        .keep_alive_ms = timeout_ms(CONFIG_KEEP_ALIVE, KEEP_ALIVE_MS),
        .buffer_size = (uint32_t)(units << 16),
        .buffer_count = (uint32_t)config_number(CONFIG_NFC_BUFFER_COUNT, 0, 0, 64),
        .request_max = (uint32_t)config_number(CONFIG_NFC_REQUEST_KIB, 1024, 64, 32768) << 10,
        .hotadd_device_ms = timeout_ms(CONFIG_HOTADD_DEVICE_MS, 120u * 1000),
        .depth = (unsigned)config_number(CONFIG_NFC_DEPTH, 16, 1, QUEUE_DEPTH_MAX),
    };
}
