/* SPDX-License-Identifier: BSD-3-Clause */
/* The files below one folder: paths of peers, who may name nothing else. A path is put into its plain form as text (no
 * symbolic link is ever followed, so ".." means what it says), then its folders are opened one by one. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "store/store_file.h"

struct rooted_fs {
    struct store_fs base;
    int root;
};

void file_place_done(struct file_place *at)
{
    if (at->owned) {
        (void)close(at->folder);
        free((void *)(uintptr_t)at->name);
    }
}

/** Takes the last component of what is written so far away; false if there is none. */
static bool step_up(char *text, size_t *len)
{
    if (*len == 0) {
        return false;
    }
    do {
        (*len)--;
    } while (text[*len] != '/');
    text[*len] = '\0';
    return true;
}

/** "a//./b/../c" as "/a/c"; the root is "". */
static VixError plain_form(const char *path, char **ret_plain, struct err *err)
{
    CLEANUP_FREE char *plain = alloc_zero(strlen(path) + 2, err);
    size_t len = 0;

    if (plain == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const char *p = path; *p != '\0';) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (!step_up(plain, &len)) {
                return err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: leads out of the folder", path);
            }
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            plain[len++] = '/';
            memcpy(plain + len, p, n);
            len += n;
            plain[len] = '\0';
        }
        p += n + (p[n] == '/');
    }
    *ret_plain = TAKE_PTR(plain);
    return VIX_OK;
}

/** Opens the next folder on the way; the one before is closed. */
static VixError step_into(int *folder, const char *name, const char *path, struct err *err)
{
    struct stat st;
    int fd;

    do {
        fd = openat(*folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0) {
        (void)close(*folder);
        *folder = fd;
        return VIX_OK;
    }
    int e = errno;
    if (fstatat(*folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        return err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: %s is a symbolic link, which is not followed", path, name);
    }
    return err_set_errno(err, e, "%s: cannot open", path);
}

VixError rooted_place(struct store_fs *fs, const char *path, struct file_place *ret_at, struct err *err)
{
    return file_place_below(((struct rooted_fs *)fs)->root, path, ret_at, err);
}

VixError file_place_below(int root, const char *path, struct file_place *ret_at, struct err *err)
{
    char *text = NULL;
    VixError code = plain_form(path, &text, err);

    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *plain = text;
    CLEANUP_CLOSE int folder = fcntl(root, F_DUPFD_CLOEXEC, 0);
    if (folder < 0) {
        return err_set_errno(err, errno, "%s: cannot open its folder", path);
    }
    char *last = plain[0] == '\0' ? plain : plain + 1;
    for (char *slash; (slash = strchr(last, '/')) != NULL; last = slash + 1) {
        *slash = '\0';
        code = step_into(&folder, last, path, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    char *name = alloc_text(last[0] == '\0' ? "." : last, err);
    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_at = (struct file_place){.folder = folder, .name = name, .owned = true};
    folder = -1;
    return VIX_OK;
}

VixError rooted_resolve(struct store_fs *fs, const char *path, char **ret_path, struct err *err)
{
    CLEANUP(file_place_done) struct file_place at = FILE_PLACE_NONE;
    struct stat st;
    char *plain = NULL;
    VixError code = rooted_place(fs, path, &at, err);

    if (code == VIX_OK && fstatat(at.folder, at.name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        code = err_set_errno(err, errno, "%s: cannot find", path);
    }
    if (code == VIX_OK && S_ISLNK(st.st_mode)) {
        code = err_set(err, VIX_E_FILE_ACCESS_ERROR, "%s: is a symbolic link, which is not followed", path);
    }
    if (code == VIX_OK) {
        code = plain_form(path, &plain, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (plain[0] == '\0') {
        plain[0] = '/'; /* room for one character more than the path is always there */
    }
    *ret_path = plain;
    return VIX_OK;
}

VixError store_fs_rooted_new(const char *folder, struct store_fs **ret_fs, struct err *err)
{
    struct rooted_fs *r = alloc_zero(sizeof *r, err);

    if (r == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    r->base.ops = &store_local_ops;
    r->root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (r->root < 0) {
        VixError code = err_set_errno(err, errno, "%s: cannot open the folder", folder);
        free(r);
        return code;
    }
    *ret_fs = &r->base;
    return VIX_OK;
}

void store_fs_rooted_free(struct store_fs *fs)
{
    struct rooted_fs *r = (struct rooted_fs *)fs;

    if (r != NULL) {
        (void)close(r->root);
        free(r);
    }
}
