/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_host.c - the disk host of disk_host.h; made at the first use, gone at the end of the process. */
#include "disk_host.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "vmdk/create.h"

static char folder[64];
static struct host host;
static struct host_user user;
static struct host_datastore datastore;
static struct session session;
static bool made;

static const char *at(const char *name)
{
    static char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool is_ours(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "vm1") == 0 ||
           strncmp(name, "disk", 4) == 0;
}

/* Everything below a folder but what make_host put there. */
static void tidy(const char *path, bool all, unsigned depth)
{
    DIR *dir = depth < 64 ? opendir(path) : NULL;

    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        CLEANUP_FREE char *name = alloc_printf(NULL, "%s/%s", path, e->d_name);
        bool dot = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (name == NULL || dot) {
            continue;
        }
        if (!all && is_ours(e->d_name)) {
            tidy(name, false, depth + 1);
        } else if (unlink(name) != 0) {
            tidy(name, true, depth + 1);
            (void)rmdir(name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

void disk_host_tidy(void)
{
    tidy(folder, false, 0);
}

static void end_host(void)
{
    datastores_close(&host.stores);
    sessions_free(host.sessions);
    tickets_free(host.tickets);
    tidy(folder, true, 0);
    (void)rmdir(folder);
}

static void make_disk(const char *name)
{
    const struct create_params p = {
        .type = VIXDISKLIB_DISK_MONOLITHIC_SPARSE, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = 2048};

    FUZZ_ASSERT(vmdk_create(store_fs_local(), at(name), &p, NULL, NULL, NULL) == VIX_OK, "%s", at(name));
}

static void make_host(void)
{
    struct err err;

    err_init(&err);
    (void)snprintf(folder, sizeof folder, "/tmp/vixdisk-fuzz-XXXXXX");
    FUZZ_ASSERT(mkdtemp(folder) != NULL && mkdir(at("vm1"), 0700) == 0, "no folder");
    make_disk("vm1/disk.vmdk");
    make_disk("vm1/disk2.vmdk");
    user = (struct host_user){.name = strdup("user"), .hash = strdup("!")};
    datastore = (struct host_datastore){.name = strdup("datastore1"), .path = folder, .writable = true};
    host.config.users = &user;
    host.config.user_count = 1;
    host.config.datastores = &datastore;
    host.config.datastore_count = 1;
    host.config.name = strdup("peer");
    host.nfc_port = 902;
    FUZZ_ASSERT(datastores_open(&host.config, &host.stores, &err) == VIX_OK, "%s", err.text);
    FUZZ_ASSERT(sessions_new(4, 1u << 30, &host.sessions, &err) == VIX_OK, "%s", err.text);
    FUZZ_ASSERT(tickets_new(16, 1u << 30, &host.tickets, &err) == VIX_OK, "%s", err.text);
    (void)atexit(end_host);
    made = true;
}

struct host *disk_host(void)
{
    if (!made) {
        make_host();
    }
    return &host;
}

const char *disk_host_token(void)
{
    struct session found;
    struct host *h = disk_host();

    if (session.token[0] == '\0' || !session_find(h->sessions, session.token, &found)) {
        FUZZ_ASSERT(session_begin(h->sessions, &user, &session, NULL) == VIX_OK, "no session");
    }
    return session.token;
}
