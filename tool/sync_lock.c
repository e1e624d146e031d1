/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_lock.c - a file beside the state that is locked while a run is at work, and gone after it. */
#include "sync_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int sync_lock_take(struct cli *cli, const char *state_path, struct sync_lock *ret_lock)
{
    struct stat held;
    struct stat there;
    *ret_lock = (struct sync_lock){.fd = -1};
    if (asprintf(&ret_lock->path, "%s.lock", state_path) < 0) {
        ret_lock->path = NULL;
        return fail_with(cli, state_path, VIX_E_OUT_OF_MEMORY, "of the names");
    }
    for (;;) {
        ret_lock->fd = open(ret_lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (ret_lock->fd < 0) {
            return fail_errno(cli, ret_lock->path, errno, "cannot be made");
        }
        if (flock(ret_lock->fd, LOCK_EX | LOCK_NB) != 0) {
            close(ret_lock->fd); /* whoever has it removes it; what has that name then is another's */
            ret_lock->fd = -1;
            return fail_with(cli, ret_lock->path, VIX_E_FILE_ALREADY_LOCKED,
                             "another sync to the same copy is running");
        }
        if (fstat(ret_lock->fd, &held) == 0 && stat(ret_lock->path, &there) == 0 && held.st_ino == there.st_ino) {
            return STATUS_DONE;
        }
        close(ret_lock->fd); /* of a run that has just ended, and removed it */
        ret_lock->fd = -1;
    }
}

void sync_lock_drop(struct sync_lock *lock)
{
    if (lock->path != NULL && lock->fd >= 0) {
        unlink(lock->path);
        close(lock->fd);
    }
    free(lock->path);
    *lock = (struct sync_lock){.fd = -1};
}

char *sync_snapshot_name(const char *state_path)
{
    char host[65] = "";
    char *text = NULL;
    char *name = NULL;
    char *folder = strdup(state_path);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    const char *base = slash != NULL ? state_path + (slash - folder) + 1 : state_path;
    if (slash != NULL) {
        *slash = '\0';
    }
    char *real = folder != NULL ? realpath(slash == NULL ? "." : folder[0] == '\0' ? "/" : folder, NULL) : NULL;
    (void)gethostname(host, sizeof host - 1);
    if (asprintf(&text, "%s:%s/%s", host, real != NULL ? real : "", base) < 0) {
        text = NULL;
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *c = text; c != NULL && *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    if (text == NULL || asprintf(&name, "vixdisk-sync-%016" PRIx64, hash) < 0) {
        name = NULL;
    }
    free(folder);
    free(real);
    free(text);
    return name;
}
