/* SPDX-License-Identifier: BSD-3-Clause */
/* copy_tree.c - the one program of the init image: copies the tree that travels to the folder that is its argument,
 * /opt by default, as `cp -r` would. It is linked statically, since the image has nothing else, and needs no rights but
 * to write there. What an earlier run has left is replaced. Exit status 0 only if everything is there. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE "/vmware-vix-disklib-distrib"

static const char *target = "/opt";

static int fail(const char *path)
{
    (void)fprintf(stderr, "copy-tree: %s: %s\n", path, strerror(errno));
    return 1;
}

static int copy_file(const char *from, const char *to, const struct stat *status)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, status->st_mode & 0777);
    ssize_t sent = in < 0 || out < 0 ? -1 : 1;
    off_t done = 0;

    while (sent > 0 && done < status->st_size) {
        sent = sendfile(out, in, &done, 1U << 30);
    }
    if (done != status->st_size || close(in) != 0 || close(out) != 0) {
        return fail(to);
    }
    return 0;
}

static int copy_link(const char *from, const char *to)
{
    char text[PATH_MAX];
    ssize_t len = readlink(from, text, sizeof text - 1);

    if (len < 0) {
        return fail(from);
    }
    text[len] = '\0';
    return symlink(text, to) == 0 ? 0 : fail(to);
}

static int copy_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    char to[PATH_MAX];

    (void)place;
    if (snprintf(to, sizeof to, "%s%s", target, path) >= (int)sizeof to) {
        errno = ENAMETOOLONG;
        return fail(target);
    }
    if (kind == FTW_D) {
        return mkdir(to, 0755) == 0 || errno == EEXIST ? 0 : fail(to);
    }
    if (unlink(to) != 0 && errno != ENOENT) {
        return fail(to);
    }
    if (kind == FTW_F) {
        return copy_file(path, to, status);
    }
    return kind == FTW_SL ? copy_link(path, to) : fail(path);
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        (void)fprintf(stderr, "usage: copy-tree [FOLDER]\n");
        return 2;
    }
    target = argc == 2 ? argv[1] : target;
    (void)umask(022);
    int status = nftw(TREE, copy_entry, 16, FTW_PHYS);
    return status < 0 ? fail(TREE) : status;
}
