/* SPDX-License-Identifier: BSD-3-Clause */
/* rename.c - a link under another name. Children of it are not known and not looked for: they are found again by their
 * own hint only if the name that it holds is the new one. */
#include "ops/link_files.h"
#include "ops/ops.h"

VixError ops_rename(struct store_fs *fs, const char *old_path, const char *new_path, struct err *err)
{
    struct link_files lf;
    VixError code = link_files_load(fs, old_path, &lf, err);

    if (code != VIX_OK) {
        return code;
    }
    code = link_files_check_no_symlink(fs, old_path, err);
    if (code == VIX_OK && (new_path[0] == '\0' || store_path_base(new_path)[0] == '\0')) {
        code = err_set(err, VIX_E_FILE_NAME_INVALID, "\"%s\" is not the name of a file", new_path);
    }
    if (code == VIX_OK && fs->ops->exists(fs, new_path)) {
        code = err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: already exists", new_path);
    }
    if (code == VIX_OK) {
        code = link_files_check_unused(fs, &lf, err);
    }
    if (code == VIX_OK) {
        code = link_files_move(fs, &lf, new_path, false, err);
    }
    link_files_done(&lf);
    return code;
}
