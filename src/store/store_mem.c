/* SPDX-License-Identifier: BSD-3-Clause */
/* The names of a file system in memory. Folders need not exist, there are no symbolic links; "a", "./a" and "/a" are
 * one name. One mutex around names and users; the bytes have locks of their own, taken after it. */
#include "store/store_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

struct mem_name {
    char *path; /* as tidy_path makes it */
    struct mem_file *file;
};

struct mem_fs {
    struct store_fs base;
    pthread_mutex_t mutex;
    struct mem_name *names;
    size_t nnames;
    size_t room;
    uint64_t last_number;
};

static struct mem_fs *mem_of(struct store_fs *fs)
{
    return (struct mem_fs *)fs;
}

/* The absolute path without empty components, "." and "..". */
static char *tidy_path(const char *path, struct err *err)
{
    size_t len = 0;
    char *tidy = alloc_zero(strlen(path) + 2, err);

    while (tidy != NULL && *path != '\0') {
        size_t n = strcspn(path, "/");
        if (n == 2 && memcmp(path, "..", 2) == 0) {
            while (len > 0 && tidy[--len] != '/') {
            }
        } else if (n > 1 || (n == 1 && path[0] != '.')) {
            tidy[len++] = '/';
            memcpy(tidy + len, path, n);
            len += n;
        }
        path += n + (path[n] == '/');
    }
    if (tidy != NULL) {
        memcpy(tidy + len, len == 0 ? "/" : "", len == 0 ? 2 : 1);
    }
    return tidy;
}

/* ---- under the mutex ---- */

static void drop_user_locked(struct mem_file *file)
{
    if (--file->users == 0) {
        mem_file_free(file);
    }
}

static struct mem_name *find_name_locked(struct mem_fs *m, const char *tidy)
{
    for (size_t i = 0; i < m->nnames; i++) {
        if (strcmp(m->names[i].path, tidy) == 0) {
            return &m->names[i];
        }
    }
    return NULL;
}

static struct mem_file *find_number_locked(struct mem_fs *m, uint64_t number)
{
    for (size_t i = 0; i < m->nnames; i++) {
        if (m->names[i].file->number == number) {
            return m->names[i].file;
        }
    }
    return NULL;
}

static void remove_name_locked(struct mem_fs *m, struct mem_name *name)
{
    free(name->path);
    drop_user_locked(name->file);
    *name = m->names[--m->nnames];
}

/* Takes tidy on success. */
static VixError add_name_locked(struct mem_fs *m, char *tidy, struct mem_file *file, struct err *err)
{
    if (m->nnames == m->room) {
        size_t room = m->room > 0 ? m->room * 2 : 8;
        struct mem_name *names = alloc_array(room, sizeof *names, err);
        if (names == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (m->nnames > 0) {
            memcpy(names, m->names, m->nnames * sizeof *names);
        }
        free(m->names);
        m->names = names;
        m->room = room;
    }
    m->names[m->nnames++] = (struct mem_name){.path = tidy, .file = file};
    file->users++;
    return VIX_OK;
}

static void release_file(void *ctx, struct mem_file *file, uint32_t flags)
{
    struct mem_fs *m = ctx;
    SCOPED_LOCK(&m->mutex);

    if ((flags & STORE_LOCK) != 0) {
        if ((flags & STORE_WRITE) != 0) {
            file->writer = false;
        } else {
            file->readers--;
        }
    }
    drop_user_locked(file);
}

static VixError open_file_locked(struct mem_fs *m, struct mem_file *file, const char *path, uint32_t flags,
                                 struct store **ret_store, struct err *err)
{
    bool exclusive = (flags & STORE_WRITE) != 0;

    if ((flags & STORE_LOCK) != 0 && (file->writer || (exclusive && file->readers > 0))) {
        return err_set(err, VIX_E_FILE_ALREADY_LOCKED, "%s: is locked, somebody has it open%s", path,
                       exclusive ? "" : " for writing");
    }
    VixError code = mem_store_new(file, path, flags, release_file, m, ret_store, err);
    if (code == VIX_OK) {
        file->users++;
        if ((flags & STORE_LOCK) != 0) {
            file->writer = exclusive;
            file->readers += !exclusive;
        }
    }
    return code;
}

static VixError fail_missing(const char *path, struct err *err)
{
    return err_set_errno(err, ENOENT, "%s: cannot open", path);
}

/* ---- the seam ---- */

static VixError mem_open(struct store_fs *fs, const char *path, uint32_t flags, struct store **ret_store,
                         struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *tidy = tidy_path(path, err);

    if (tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    struct mem_name *name = find_name_locked(m, tidy);
    return name != NULL ? open_file_locked(m, name->file, path, flags, ret_store, err) : fail_missing(path, err);
}

static VixError mem_create(struct store_fs *fs, const char *path, uint32_t flags, uint32_t mode,
                           struct store **ret_store, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *tidy = tidy_path(path, err);

    if (tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    if (find_name_locked(m, tidy) != NULL) {
        return err_set_errno(err, EEXIST, "%s: cannot create", path);
    }
    struct mem_file *file = mem_file_new(m->last_number + 1, mode & 07777, err);
    if (file == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = add_name_locked(m, tidy, file, err);
    if (code != VIX_OK) {
        mem_file_free(file);
        return code;
    }
    tidy = NULL;
    m->last_number++;
    code = open_file_locked(m, file, path, flags | STORE_WRITE, ret_store, err);
    if (code != VIX_OK) {
        remove_name_locked(m, &m->names[m->nnames - 1]);
    }
    return code;
}

static VixError move_name(struct mem_fs *m, const char *old_path, const char *new_path, bool replace, struct err *err)
{
    CLEANUP_FREE char *old_tidy = tidy_path(old_path, err);
    CLEANUP_FREE char *new_tidy = old_tidy != NULL ? tidy_path(new_path, err) : NULL;

    if (new_tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    struct mem_name *from = find_name_locked(m, old_tidy);
    struct mem_name *to = find_name_locked(m, new_tidy);
    if (from == NULL || (to != NULL && !replace)) {
        return err_set_errno(err, from == NULL ? ENOENT : EEXIST, "%s: cannot rename to %s", old_path, new_path);
    }
    if (to != NULL && from->file == to->file) {
        return VIX_OK; /* two names of one file: rename(2) does nothing */
    }
    free(from->path);
    from->path = TAKE_PTR(new_tidy);
    if (to != NULL) {
        remove_name_locked(m, to);
    }
    return VIX_OK;
}

static VixError mem_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    return move_name(mem_of(fs), old_path, new_path, true, err);
}

static VixError mem_rename_new(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    return move_name(mem_of(fs), old_path, new_path, false, err);
}

static VixError mem_link(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *old_tidy = tidy_path(old_path, err);
    CLEANUP_FREE char *new_tidy = old_tidy != NULL ? tidy_path(new_path, err) : NULL;

    if (new_tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    struct mem_name *from = find_name_locked(m, old_tidy);
    if (from == NULL || find_name_locked(m, new_tidy) != NULL) {
        return err_set_errno(err, from == NULL ? ENOENT : EEXIST, "%s: cannot give it the second name %s", old_path,
                             new_path);
    }
    VixError code = add_name_locked(m, new_tidy, from->file, err);
    if (code == VIX_OK) {
        new_tidy = NULL;
    }
    return code;
}

static VixError mem_unlink(struct store_fs *fs, const char *path, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *tidy = tidy_path(path, err);

    if (tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    struct mem_name *name = find_name_locked(m, tidy);
    if (name == NULL) {
        return err_set_errno(err, ENOENT, "%s: cannot remove", path);
    }
    remove_name_locked(m, name);
    return VIX_OK;
}

static VixError mem_sync_folder(struct store_fs *fs, const char *path, struct err *err)
{
    (void)fs;
    (void)path;
    (void)err;
    return VIX_OK;
}

static VixError mem_statfs(struct store_fs *fs, const char *path, enum store_fs_kind *ret_kind, uint64_t *ret_free,
                           struct err *err)
{
    (void)fs;
    (void)path;
    (void)err;
    *ret_kind = STORE_FS_ORDINARY;
    *ret_free = INT64_MAX;
    return VIX_OK;
}

/* Copies of the names, so that found may call back into the file system. */
static VixError mem_list(struct store_fs *fs, const char *path,
                         VixError (*found)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err)
{
    struct mem_fs *m = (struct mem_fs *)fs;
    CLEANUP_FREE char *tidy = tidy_path(path, err);
    CLEANUP_FREE char *folder = tidy != NULL ? store_path_folder(tidy, err) : NULL;
    VixError code = folder != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (size_t i = 0; code == VIX_OK; i++) {
        CLEANUP_FREE char *name = NULL;
        CLEANUP_FREE char *its_folder = NULL;
        {
            SCOPED_LOCK(&m->mutex);
            if (i >= m->nnames) {
                return VIX_OK;
            }
            name = alloc_text(store_path_base(m->names[i].path), err);
            its_folder = store_path_folder(m->names[i].path, err);
        }
        if (name == NULL || its_folder == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        code = strcmp(folder, its_folder) == 0 ? found(ctx, name, err) : VIX_OK;
    }
    return code;
}

static bool mem_exists(struct store_fs *fs, const char *path)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *tidy = tidy_path(path, NULL);
    SCOPED_LOCK(&m->mutex);

    return tidy != NULL && find_name_locked(m, tidy) != NULL;
}

static VixError mem_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err)
{
    CLEANUP_FREE char *tidy = tidy_path(path, err);

    if (tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (!mem_exists(fs, path)) {
        return fail_missing(path, err);
    }
    *ret_path = TAKE_PTR(tidy);
    return VIX_OK;
}

/* Nobody owns these files. */
static void mem_take_rights(struct store_fs *fs, const char *path, const char *from)
{
    (void)fs, (void)path, (void)from;
}

static const struct store_fs_ops mem_fs_ops = {
    .open = mem_open,
    .create = mem_create,
    .take_rights = mem_take_rights,
    .rename = mem_rename,
    .rename_new = mem_rename_new,
    .link = mem_link,
    .unlink = mem_unlink,
    .sync_folder = mem_sync_folder,
    .statfs = mem_statfs,
    .resolve = mem_resolve,
    .check_place = store_fs_without_links,
    .list = mem_list,
    .exists = mem_exists,
};

struct store_fs *store_fs_mem_new(struct err *err)
{
    struct mem_fs *m = alloc_zero(sizeof *m, err);

    if (m == NULL) {
        return NULL;
    }
    m->base.ops = &mem_fs_ops;
    (void)pthread_mutex_init(&m->mutex, NULL);
    return &m->base;
}

void store_fs_mem_free(struct store_fs *fs)
{
    if (fs == NULL) {
        return;
    }
    struct mem_fs *m = mem_of(fs);
    while (m->nnames > 0) {
        remove_name_locked(m, &m->names[m->nnames - 1]);
    }
    free(m->names);
    (void)pthread_mutex_destroy(&m->mutex);
    free(m);
}

/* One name of m for the copy; names of one file get one copy. */
static VixError clone_name_locked(struct mem_fs *copy, const struct mem_name *name, struct err *err)
{
    CLEANUP_FREE char *path = alloc_text(name->path, err);
    struct mem_file *file = find_number_locked(copy, name->file->number);
    bool fresh = file == NULL;

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (fresh) {
        file = mem_file_clone(name->file, err);
    }
    if (file == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = add_name_locked(copy, path, file, err);
    if (code != VIX_OK) {
        if (fresh) {
            mem_file_free(file);
        }
        return code;
    }
    path = NULL;
    return VIX_OK;
}

struct store_fs *store_fs_mem_clone(struct store_fs *fs, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    struct store_fs *copy = store_fs_mem_new(err);
    VixError code = VIX_OK;

    if (copy == NULL) {
        return NULL;
    }
    SCOPED_LOCK(&m->mutex);
    for (size_t i = 0; i < m->nnames && code == VIX_OK; i++) {
        code = clone_name_locked(mem_of(copy), &m->names[i], err);
    }
    mem_of(copy)->last_number = m->last_number;
    if (code != VIX_OK) {
        store_fs_mem_free(copy);
        return NULL;
    }
    return copy;
}

/* ---- for the recorder ---- */

VixError store_mem_open_number(struct store_fs *fs, uint64_t number, struct store **ret_store, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    SCOPED_LOCK(&m->mutex);
    struct mem_file *file = find_number_locked(m, number);
    bool fresh = file == NULL;

    if (fresh) {
        file = mem_file_new(number, 0600, err);
    }
    if (file == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = open_file_locked(m, file, "(file without a name)", STORE_WRITE, ret_store, err);
    if (code != VIX_OK && fresh) {
        mem_file_free(file);
    }
    if (code == VIX_OK && number > m->last_number) {
        m->last_number = number;
    }
    return code;
}

VixError store_mem_link(struct store_fs *fs, struct store *s, const char *path, struct err *err)
{
    struct mem_fs *m = mem_of(fs);
    CLEANUP_FREE char *tidy = tidy_path(path, err);

    if (tidy == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    SCOPED_LOCK(&m->mutex);
    struct mem_name *name = find_name_locked(m, tidy);
    if (name != NULL) {
        remove_name_locked(m, name);
    }
    VixError code = add_name_locked(m, tidy, mem_store_file(s), err);
    if (code == VIX_OK) {
        tidy = NULL;
    }
    return code;
}
