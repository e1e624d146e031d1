/* SPDX-License-Identifier: BSD-3-Clause */
/* --drop-in: what vixdiskd.service, which sees little of the machine, has to be told of a configuration. The syntax is
 * that of systemd.exec(5) and systemd.unit(5): paths in quotes, with \ before \ and ", and %% for %. One thread. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/config.h"
#include "daemon/setup.h"

#define UNIT_CONFIG "/var/lib/vixdiskd/vixdiskd.conf" /* what the unit starts it with */
#define UNIT_FOLDER "/var/lib/vixdiskd"               /* its StateDirectory, which it may write to anyway */
#define OTHER_MEMORY_MIB 1024u                        /* beside the buffers of NFC: SOAP, open disks, the page cache */

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/** Whether ProtectHome hides it. */
static bool is_hidden(const char *path)
{
    return is_below(path, "/home") || is_below(path, "/root") || is_below(path, "/run/user");
}

static void print_quoted(const char *path)
{
    (void)putchar('"');
    for (; *path != '\0'; path++) {
        if (*path == '"' || *path == '\\') {
            (void)putchar('\\');
        } else if (*path == '%') {
            (void)putchar('%');
        }
        (void)putchar(*path);
    }
    (void)putchar('"');
}

static void print_line(const char *key, const char *path)
{
    (void)printf("%s=", key);
    print_quoted(path);
    (void)putchar('\n');
}

static VixError resolve(const char *path, char **ret_path, struct err *err)
{
    char *resolved = realpath(path, NULL);

    if (resolved == NULL) {
        return err_set_errno(err, errno, "%s: cannot be found", path);
    }
    if (strpbrk(resolved, "\r\n") != NULL) {
        free(resolved);
        return err_set(err, VIX_E_INVALID_ARG, "%s: a unit of systemd cannot have a line end in a path", path);
    }
    *ret_path = resolved;
    return VIX_OK;
}

static VixError print_start(const char *config_path, bool *hides, struct err *err)
{
    CLEANUP_FREE char *program = NULL;
    CLEANUP_FREE char *config = NULL;
    VixError code = resolve("/proc/self/exe", &program, err);

    if (code == VIX_OK) {
        code = resolve(config_path, &config, err);
    }
    if (code != VIX_OK || strcmp(config, UNIT_CONFIG) == 0) {
        return code;
    }
    (void)printf("ExecStart=\nExecStart=");
    print_quoted(program);
    (void)printf(" --config ");
    print_quoted(config);
    (void)putchar('\n');
    if (is_hidden(config)) {
        char *slash = strrchr(config, '/');
        *slash = '\0';
        print_line("BindReadOnlyPaths", config);
        *hides = true;
    }
    return VIX_OK;
}

static VixError print_place(const char *place, bool writable, bool *hides, struct err *err)
{
    CLEANUP_FREE char *path = NULL;
    VixError code = resolve(place, &path, err);

    if (code != VIX_OK) {
        return code;
    }
    if (is_hidden(path)) {
        print_line(writable ? "BindPaths" : "BindReadOnlyPaths", path);
        *hides = true;
    } else if (writable && !is_below(path, UNIT_FOLDER)) {
        print_line("ReadWritePaths", path);
    }
    return VIX_OK;
}

static VixError print_datastore(const struct host_datastore *ds, bool *hides, struct err *err)
{
    VixError code = ds->path != NULL ? print_place(ds->path, ds->writable, hides, err) : VIX_OK;

    for (size_t i = 0; i < ds->lun_count && code == VIX_OK; i++) {
        code = print_place(ds->luns[i].path, ds->writable, hides, err);
    }
    return code;
}

VixError setup_drop_in(const char *config_path, struct err *err)
{
    struct host_config config;
    bool hides = false;
    VixError code = host_config_load(config_path, &config, err);

    if (code != VIX_OK) {
        return code;
    }
    (void)printf(
        "# Made by vixdiskd --drop-in, for /etc/systemd/system/vixdiskd.service.d/datastores.conf\n[Service]\n");
    code = print_start(config_path, &hides, err);
    for (size_t i = 0; code == VIX_OK && i < config.datastore_count; i++) {
        code = print_datastore(&config.datastores[i], &hides, err);
    }
    if (code == VIX_OK) {
        (void)printf("%sMemoryHigh=%" PRIu64 "M\n", hides ? "ProtectHome=tmpfs\n" : "",
                     config.limits.memory + OTHER_MEMORY_MIB);
    }
    host_config_done(&config);
    return code;
}
