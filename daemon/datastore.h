/* SPDX-License-Identifier: BSD-3-Clause */
/* datastore.h - folders of this machine, and volumes of VMFS on LUNs of it (whose files are not made or removed, but as
 * little as by SAN), under the names by which clients know them. A path of a client,
 * "[datastore1] vm/disk.vmdk", is the only way to a file, and leads nowhere but below the folder (store_fs_rooted_new).
 * Fixed after the start; any thread. */
#ifndef VIXDISKD_DATASTORE_H
#define VIXDISKD_DATASTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "store/store.h"
#include "vmfs/vmfs.h"

#define DATASTORE_PATH_MAX 2048u /* limit: bytes of a path that a client names */

struct datastore {
    const char *name; /* the configuration's */
    const char *path; /* NULL: a volume */
    const struct host_lun *luns;
    size_t lun_count;
    struct store *lun_stores[HOST_LUNS_MAX];
    struct vmfs *volume; /* NULL: a folder */
    char moref[32];
    bool writable;
    int fd;              /* the folder; -1: a volume */
    struct store_fs *fs; /* its files: "vm/disk.vmdk" */
};

struct datastores {
    struct datastore *list;
    size_t count;
};

/** Opens every folder of the configuration, which must live as long. */
VixError datastores_open(const struct host_config *config, struct datastores *ret_stores, struct err *err);
void datastores_close(struct datastores *stores);

const struct datastore *datastore_by_name(const struct datastores *stores, const char *name, size_t len);
const struct datastore *datastore_by_moref(const struct datastores *stores, const char *moref);

/** Takes "[name] dir/x.vmdk" apart: the datastore, and the path in plain form (no empty components), freed by the
 * caller; "" for the datastore's folder. VIX_E_INVALID_ARG for what is no such path, is absolute, has ".." or "." in it
 * or control characters; VIX_E_FILE_NOT_FOUND for a datastore that is not there. */
VixError datastore_parse(const struct datastores *stores, const char *text, const struct datastore **ret_store,
                         char **ret_path, struct err *err);

/** "[name] path"; freed by the caller. */
char *datastore_path(const struct datastore *ds, const char *path, struct err *err);

/** Tells the names in the datastore's folder that may be folders. */
VixError datastore_list(const struct datastore *ds, VixError (*found)(void *ctx, const char *name, struct err *err),
                        void *ctx, struct err *err);

/** Bytes of the file system below, and those that are free. */
VixError datastore_space(const struct datastore *ds, uint64_t *ret_capacity, uint64_t *ret_free, struct err *err);

/** Makes a folder; with those above it if parents is set. */
VixError datastore_make_folder(const struct datastore *ds, const char *path, bool parents, struct err *err);

#endif
