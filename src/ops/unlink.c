/* SPDX-License-Identifier: BSD-3-Clause */
/* unlink.c - removes the files of one link. The descriptor goes last, so that a removal which was cut short can be done
 * again. Parents stay; children are not known and not looked for. */
#include "base/config.h"
#include "ops/link_files.h"
#include "ops/ops.h"

VixError ops_unlink(struct store_fs *fs, const char *path, struct err *err)
{
    struct link_files lf;
    VixError code = link_files_load(fs, path, &lf, err);

    if (code != VIX_OK) {
        return code;
    }
    code = link_files_check_no_symlink(fs, path, err);
    if (code == VIX_OK && lf.outside && !config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false)) {
        code = err_set(err, VIX_E_FILE_ACCESS_ERROR,
                       "%s: names a file outside its folder; such files are removed only where the configuration sets "
                       "%s",
                       path, CONFIG_ALLOW_OUTSIDE_PATHS);
    }
    if (code == VIX_OK) {
        code = link_files_check_unused(fs, &lf, err);
    }
    if (code == VIX_OK) {
        code = link_files_check_unshared(fs, &lf, err);
    }
    if (code == VIX_OK) {
        code = link_files_remove_extents(fs, &lf, err);
    }
    if (code == VIX_OK) {
        code = fs->ops->unlink(fs, path, err);
    }
    if (code == VIX_OK) {
        code = fs->ops->sync_folder(fs, path, err);
    }
    link_files_done(&lf);
    return code;
}
