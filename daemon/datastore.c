/* SPDX-License-Identifier: BSD-3-Clause */
/* Datastores. Paths are put into plain form here as text; that they lead nowhere else is seen to again by the file
 * system below the folder, for what descriptors name. */
#include "daemon/datastore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"

static VixError open_volume(const struct host_datastore *how, struct datastore *ds, struct err *err)
{
    struct store_fs *local = store_fs_local();
    struct vmfs_lun luns[HOST_LUNS_MAX] = {0};
    VixError code = VIX_OK;

    _Static_assert(HOST_LUNS_MAX == VMFS_MAX_LUNS, "a volume has as many LUNs as a datastore may have");
    ds->luns = how->luns;
    for (size_t i = 0; i < how->lun_count && code == VIX_OK; i++) {
        uint32_t flags = STORE_DEVICE_OK | (how->writable ? STORE_WRITE : STORE_READ);
        code = local->ops->open(local, how->luns[i].path, flags, &ds->lun_stores[i], err);
        if (code == VIX_OK) {
            ds->lun_count++;
            luns[i].store = ds->lun_stores[i];
        }
    }
    if (code == VIX_OK) {
        code = vmfs_open(luns, ds->lun_count, &ds->volume, err);
    }
    if (code == VIX_OK && vmfs_info(ds->volume)->guessed) {
        code = err_set(err, VIX_E_FILE_ERROR, "%s: a table that tells where the volume's pieces are cannot be read",
                       how->luns[0].path);
    }
    if (code == VIX_OK) {
        code = vmfs_fs_new(ds->volume, &ds->fs, err);
    }
    if (code != VIX_OK) {
        err_prefix(err, "datastore %s: ", how->name);
    }
    return code;
}

static VixError open_one(const struct host_datastore *how, size_t index, struct datastore *ds, struct err *err)
{
    ds->name = how->name;
    ds->path = how->path;
    ds->writable = how->writable;
    (void)snprintf(ds->moref, sizeof ds->moref, "datastore-%zu", index + 1);
    ds->fd = -1;
    if (how->lun_count > 0) {
        return open_volume(how, ds, err);
    }
    ds->fd = open(how->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ds->fd < 0) {
        return err_set_errno(err, errno, "datastore %s: cannot open the folder %s", how->name, how->path);
    }
    return store_fs_rooted_new(how->path, &ds->fs, err);
}

VixError datastores_open(const struct host_config *config, struct datastores *ret_stores, struct err *err)
{
    struct datastores stores = {.list = alloc_array(config->datastore_count, sizeof *stores.list, err)};
    VixError code = stores.list != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (size_t i = 0; code == VIX_OK && i < config->datastore_count; i++) {
        code = open_one(&config->datastores[i], i, &stores.list[i], err);
        stores.count = i + 1;
    }
    if (code != VIX_OK) {
        datastores_close(&stores);
        return code;
    }
    *ret_stores = stores;
    return VIX_OK;
}

void datastores_close(struct datastores *stores)
{
    for (size_t i = 0; i < stores->count; i++) {
        struct datastore *ds = &stores->list[i];
        if (ds->fd >= 0) {
            (void)close(ds->fd);
        }
        if (ds->path != NULL) {
            store_fs_rooted_free(ds->fs);
        } else {
            vmfs_fs_free(ds->fs);
        }
        vmfs_close(ds->volume);
        for (size_t k = 0; k < ds->lun_count; k++) {
            store_close(ds->lun_stores[k]);
        }
    }
    free(stores->list);
    *stores = (struct datastores){0};
}

const struct datastore *datastore_by_name(const struct datastores *stores, const char *name, size_t len)
{
    for (size_t i = 0; i < stores->count; i++) {
        if (strlen(stores->list[i].name) == len && memcmp(stores->list[i].name, name, len) == 0) {
            return &stores->list[i];
        }
    }
    return NULL;
}

const struct datastore *datastore_by_moref(const struct datastores *stores, const char *moref)
{
    for (size_t i = 0; i < stores->count; i++) {
        if (strcmp(stores->list[i].moref, moref) == 0) {
            return &stores->list[i];
        }
    }
    return NULL;
}

/** Copies the components of a path, with one slash between them. */
static VixError plain_path(const char *text, const char *p, char **ret_path, struct err *err)
{
    CLEANUP_FREE char *path = alloc_zero(strlen(p) + 1, err);
    size_t len = 0;

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (; *p != '\0'; p += *p == '/') {
        size_t n = strcspn(p, "/");
        if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.')) {
            return err_set(err, VIX_E_INVALID_ARG, "%.200s: \".\" and \"..\" are not allowed in a path", text);
        }
        if (n > 0) {
            if (len > 0) {
                path[len++] = '/';
            }
            memcpy(path + len, p, n);
            len += n;
        }
        p += n;
    }
    *ret_path = TAKE_PTR(path);
    return VIX_OK;
}

static bool has_control_characters(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

VixError datastore_parse(const struct datastores *stores, const char *text, const struct datastore **ret_store,
                         char **ret_path, struct err *err)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : NULL;

    if (strlen(text) > DATASTORE_PATH_MAX || has_control_characters(text)) {
        return err_set(err, VIX_E_INVALID_ARG, "the path has control characters, or %zu bytes, allowed: %u",
                       strlen(text), DATASTORE_PATH_MAX);
    }
    if (end == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "%.200s: is no path of the form [datastore] folder/name", text);
    }
    const struct datastore *ds = datastore_by_name(stores, text + 1, (size_t)(end - text) - 1);
    if (ds == NULL) {
        return err_set(err, VIX_E_FILE_NOT_FOUND, "%.200s: could not find the datastore", text);
    }
    const char *p = end + 1 + strspn(end + 1, " ");
    if (*p == '/') {
        return err_set(err, VIX_E_INVALID_ARG, "%.200s: the path behind the datastore must not begin with /", text);
    }
    VixError code = plain_path(text, p, ret_path, err);
    if (code == VIX_OK) {
        *ret_store = ds;
    }
    return code;
}

char *datastore_path(const struct datastore *ds, const char *path, struct err *err)
{
    while (*path == '/') {
        path++;
    }
    return alloc_printf(err, "[%s] %s", ds->name, path);
}

/* ---- the folder itself ---- */

static bool is_folder(DIR *dir, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_name[0] == '.') {
        return false;
    }
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    return fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

VixError datastore_list(const struct datastore *ds, VixError (*found)(void *ctx, const char *name, struct err *err),
                        void *ctx, struct err *err)
{
    if (ds->volume != NULL) {
        return vmfs_list(ds->volume, "/", found, ctx, err);
    }
    int fd = openat(ds->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    VixError code = VIX_OK;

    if (dir == NULL) {
        code = err_set_errno(err, errno, "datastore %s: cannot read the folder", ds->name);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    for (const struct dirent *entry; code == VIX_OK && (entry = readdir(dir)) != NULL;) {
        if (is_folder(dir, entry)) {
            code = found(ctx, entry->d_name, err);
        }
    }
    (void)closedir(dir);
    return code;
}

VixError datastore_space(const struct datastore *ds, uint64_t *ret_capacity, uint64_t *ret_free, struct err *err)
{
    struct statvfs st;
    uint64_t capacity, available;

    if (ds->volume != NULL) {
        *ret_capacity = vmfs_info(ds->volume)->size;
        *ret_free = 0; /* nothing can be made */
        return VIX_OK;
    }
    if (fstatvfs(ds->fd, &st) != 0) {
        return err_set_errno(err, errno, "datastore %s: cannot look at its file system", ds->name);
    }
    if (!checked_mul(st.f_blocks, st.f_frsize, &capacity) || !checked_mul(st.f_bavail, st.f_frsize, &available)) {
        return err_set(err, VIX_E_FILE_ERROR, "datastore %s: its file system tells sizes beyond 2^64 bytes", ds->name);
    }
    *ret_capacity = capacity;
    *ret_free = available;
    return VIX_OK;
}

/** Makes and opens the next folder of a path; the one before is closed. */
static VixError make_step(int *folder, const char *name, bool may_exist, const char *path, struct err *err)
{
    if (mkdirat(*folder, name, 0777) != 0 && !(may_exist && errno == EEXIST)) {
        return err_set_errno(err, errno, "%s: cannot make the folder", path);
    }
    int fd = openat(*folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot open the folder %s", path, name);
    }
    (void)close(*folder);
    *folder = fd;
    return VIX_OK;
}

VixError datastore_make_folder(const struct datastore *ds, const char *path, bool parents, struct err *err)
{
    if (ds->volume != NULL) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: no folders are made on a volume of VMFS", path);
    }
    CLEANUP_FREE char *copy = alloc_text(path, err);
    CLEANUP_CLOSE int folder = fcntl(ds->fd, F_DUPFD_CLOEXEC, 0);
    VixError code = copy != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    if (folder < 0) {
        return err_set_errno(err, errno, "%s: cannot open the datastore", path);
    }
    for (char *name = copy; code == VIX_OK && name != NULL && *name != '\0';) {
        char *slash = strchr(name, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        if (slash != NULL && !parents) {
            int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (fd < 0) {
                return err_set_errno(err, errno, "%s: cannot open the folder above", path);
            }
            (void)close(folder);
            folder = fd;
        } else {
            code = make_step(&folder, name, parents, path, err);
        }
        name = slash != NULL ? slash + 1 : NULL;
    }
    return code;
}
