/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks: ours, QEMU's, and those of VMware's hosted products. Ours belongs to the open file description, so it is held
 * against other opens of this process too, and the kernel drops it when the process dies. Any thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "store/store_file.h"

/* "vixDisk" as a number: far behind the end of every file and the bytes that other programs use. */
#define LOCK_BYTE 0x7669784469736B00

/* QEMU holds a shared lock on byte 100 + n for each right n that it uses; right 1 is writing. */
#define QEMU_WRITE_BYTE 101

static void cleanup_closedir(DIR **dir)
{
    if (*dir != NULL) {
        (void)closedir(*dir);
    }
}

static DIR *open_dir(const struct file_place *at, const char *name)
{
    int fd = openat(at->folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (at->owned ? O_NOFOLLOW : 0));
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL && fd >= 0) {
        (void)close(fd);
    }
    return dir;
}

VixError lock_check_folder(const struct file_place *at, const char *path, struct err *err)
{
    CLEANUP_FREE char *folder = alloc_printf(err, "%s.lck", at->name);
    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    CLEANUP(cleanup_closedir) DIR *dir = open_dir(at, folder);
    const struct dirent *entry;

    /* an empty folder is left over from a lock that was let go */
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (text_ends_with(entry->d_name, ".lck")) {
            return err_set(err, VIX_E_FILE_ALREADY_LOCKED,
                           "%s: is in use by a VMware product, which holds the lock %s.lck/%s", path, path,
                           entry->d_name);
        }
    }
    return VIX_OK;
}

static int lock_byte(int fd, int command, short type, off_t byte, struct flock *ret_lock)
{
    int failed;

    *ret_lock = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    do {
        failed = fcntl(fd, command, ret_lock);
    } while (failed != 0 && errno == EINTR);
    return failed != 0 ? errno : 0;
}

bool lock_has_writer(int fd)
{
    struct flock lock;

    return lock_byte(fd, F_OFD_GETLK, F_WRLCK, QEMU_WRITE_BYTE, &lock) != 0 || lock.l_type != F_UNLCK;
}

VixError lock_take(int fd, const char *path, bool exclusive, struct err *err)
{
    struct flock lock;
    int e = lock_byte(fd, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, LOCK_BYTE, &lock);

    if (e == EAGAIN || e == EACCES) {
        return err_set(err, VIX_E_FILE_ALREADY_LOCKED, "%s: is locked, somebody has it open%s", path,
                       exclusive ? "" : " for writing");
    }
    if (e != 0) {
        char reason[128];
        log_news("%s: is used without a lock, the file system has none (%s)", path,
                 strerror_r(e, reason, sizeof reason));
        return VIX_OK;
    }
    if (exclusive && lock_byte(fd, F_OFD_GETLK, F_WRLCK, QEMU_WRITE_BYTE, &lock) == 0 && lock.l_type != F_UNLCK) {
        return err_set(err, VIX_E_FILE_ALREADY_LOCKED, "%s: is open for writing in QEMU, which locks its byte %d", path,
                       QEMU_WRITE_BYTE);
    }
    return VIX_OK;
}
