/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration files: the library's, and that of the disk host. */
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "daemon/config.h"
#include "daemon/log.h"

static int fd = -1;
static char path[64];

static void make_file(void)
{
    fd = memfd_create("config", MFD_CLOEXEC);
    FUZZ_ASSERT(fd >= 0 && fchmod(fd, 0600) == 0, "no file in memory");
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
}

/* What a configuration that is accepted promises to everything else. */
static void check_host(const struct host_config *c)
{
    FUZZ_ASSERT(c->certificate != NULL && c->key != NULL && c->listen != NULL, "what is needed is missing");
    FUZZ_ASSERT(c->port < 65536 && c->nfc_port < 65536, "ports");
    FUZZ_ASSERT(c->datastore_count > 0 && c->datastore_count <= HOST_DATASTORES_MAX, "datastores");
    FUZZ_ASSERT(c->user_count <= HOST_USERS_MAX, "users");
    for (size_t i = 0; i < c->datastore_count; i++) {
        const struct host_datastore *d = &c->datastores[i];
        FUZZ_ASSERT(host_name_is_valid(d->name) && (d->path != NULL) != (d->lun_count > 0), "datastore %zu", i);
    }
    for (size_t i = 0; i < c->user_count; i++) {
        FUZZ_ASSERT(host_name_is_valid(c->users[i].name) && c->users[i].hash != NULL, "user %zu", i);
    }
    FUZZ_ASSERT(c->limits.connections > 0 && c->limits.sessions > 0 && c->limits.tickets > 0, "limits");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_config config;
    unsigned skipped = 0;
    struct err err;

    if (fd < 0) {
        make_file();
    }
    FUZZ_ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "cannot write the file");
    err_init(&err);
    if (config_load(path, &skipped, &err) == VIX_OK) {
        uint64_t n = config_number(CONFIG_THREADS, 5, 0, 256);
        FUZZ_ASSERT(n <= 256, "a number outside of its limits");
        (void)config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false);
        (void)config_text(CONFIG_LOG_FILE);
        config_clear();
    }
    if (host_config_load(path, &config, &err) == VIX_OK) {
        check_host(&config);
        host_config_done(&config);
    } else {
        FUZZ_ASSERT(err.text[0] != '\0', "refused without a sentence");
    }
    return 0;
}
