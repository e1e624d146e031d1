/* SPDX-License-Identifier: BSD-3-Clause */
/* whole_file.c - a temporary file that takes the name of the output when it is complete and on stable storage. */
#include "whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_SUFFIX ".tmp-123456"
#define TEMP_TRIES 100u

static int open_in_place(struct cli *cli, struct whole_file *file)
{
    int fd = strcmp(file->path, "-") == 0 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                                          : open(file->path, O_WRONLY | O_CLOEXEC);
    file->to = fd >= 0 ? fdopen(fd, "w") : NULL;
    return file->to != NULL ? STATUS_DONE : fail_errno(cli, file->path, errno, "cannot be opened for writing");
}

/** A new file beside path with the rights that this user's files have; *ret_temp its name, to be freed. -1 with errno.
 */
static int make_beside(const char *path, char **ret_temp)
{
    char *temp = malloc(strlen(path) + sizeof TEMP_SUFFIX);
    int fd = -1;
    errno = temp == NULL ? ENOMEM : EEXIST;
    for (unsigned i = 0; temp != NULL && fd < 0 && errno == EEXIST && i < TEMP_TRIES; i++) {
        uint32_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number) {
            break;
        }
        snprintf(temp, strlen(path) + sizeof TEMP_SUFFIX, "%s.tmp-%06" PRIx32, path, number & 0xffffff);
        fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    if (fd < 0) {
        free(temp);
        temp = NULL;
    }
    *ret_temp = temp;
    return fd;
}

int whole_file_open(struct cli *cli, const char *path, struct whole_file *file)
{
    struct stat st;
    *file = (struct whole_file){.path = path};
    bool there = strcmp(path, "-") != 0 && stat(path, &st) == 0;
    if (strcmp(path, "-") == 0 || (there && !S_ISREG(st.st_mode))) {
        return open_in_place(cli, file);
    }
    int fd = make_beside(path, &file->temp);
    if (fd < 0) {
        return fail_errno(cli, path, errno, "cannot make a file beside it");
    }
    if (there) {
        (void)fchmod(fd, st.st_mode & 0777);
    }
    file->to = fdopen(fd, "w");
    if (file->to == NULL) {
        int status = fail_errno(cli, path, errno, "cannot be written");
        close(fd);
        whole_file_drop(file);
        return status;
    }
    return STATUS_DONE;
}

int whole_file_finish(struct cli *cli, struct whole_file *file)
{
    errno = 0;
    bool good = fflush(file->to) == 0 && !ferror(file->to);
    if (good && file->temp != NULL) {
        good = fsync(fileno(file->to)) == 0;
    }
    int errnum = errno;
    if (fclose(file->to) != 0 && good) {
        good = false;
        errnum = errno;
    }
    file->to = NULL;
    if (good && file->temp != NULL && rename(file->temp, file->path) != 0) {
        good = false;
        errnum = errno;
    }
    if (good) {
        free(file->temp);
        file->temp = NULL;
        return STATUS_DONE;
    }
    whole_file_drop(file);
    return fail_errno(cli, file->path, errnum != 0 ? errnum : EIO, "cannot be written");
}

void whole_file_drop(struct whole_file *file)
{
    if (file->to != NULL) {
        fclose(file->to);
        file->to = NULL;
    }
    if (file->temp != NULL) {
        unlink(file->temp);
        free(file->temp);
        file->temp = NULL;
    }
}
