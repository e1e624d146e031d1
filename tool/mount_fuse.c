/* SPDX-License-Identifier: BSD-3-Clause */
/* mount_fuse.c - the files of a mount: a folder of fixed names over one open disk. Requests come on several threads of
 * libfuse and go straight to the disk. The only file that knows libfuse. */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount.h"

#define FOREVER 86400.0 /* seconds that the kernel may remember names and sizes, which never change */
#define FIRST_FILE 2u   /* inode; 1 is the folder */
#define REQUEST_BYTES (1u << 20)
#define READAHEAD_KIB 1024

struct mount {
    struct cli *cli;
    const struct mount_job *job;
    struct fuse_session *session;
    struct timespec since;
    pthread_rwlock_t parts; /* held for writing while a part of a sector is written, which is a read and a write */
};

static struct mount *mount_of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

/** The file of an inode, NULL for the folder or none. */
static const struct mount_file *file_of(const struct mount *m, fuse_ino_t ino)
{
    return ino >= FIRST_FILE && ino - FIRST_FILE < m->job->nfiles ? &m->job->files[ino - FIRST_FILE] : NULL;
}

static bool is_writable(const struct mount *m, const struct mount_file *file)
{
    return m->job->writable && file->text == NULL;
}

static int errno_of(VixError code)
{
    switch (code) {
    case VIX_E_OUT_OF_MEMORY:
        return ENOMEM;
    case VIX_E_DISK_FULL:
        return ENOSPC;
    case VIX_E_FILE_READ_ONLY:
        return EROFS;
    default:
        return EIO;
    }
}

/** Answers a request that failed in the library, and says why. */
static void reply_failure(fuse_req_t request, VixError code)
{
    struct mount *m = mount_of(request);
    (void)fail(m->cli, m->job->source, code);
    fuse_reply_err(request, errno_of(code));
}

/* ---- names ---- */

static bool fill_stat(const struct mount *m, fuse_ino_t ino, struct stat *st)
{
    const struct mount_file *file = file_of(m, ino);
    if (file == NULL && ino != FUSE_ROOT_ID) {
        return false;
    }
    *st = (struct stat){.st_ino = ino,
                        .st_uid = getuid(),
                        .st_gid = getgid(),
                        .st_blksize = 65536,
                        .st_atim = m->since,
                        .st_mtim = m->since,
                        .st_ctim = m->since};
    mode_t others = m->job->allow_other ? 0044 : 0;
    if (file == NULL) {
        st->st_mode = S_IFDIR | 0500 | others | others >> 2;
        st->st_nlink = 2;
    } else {
        st->st_mode = S_IFREG | 0400 | others | (is_writable(m, file) ? 0200 : 0);
        st->st_nlink = 1;
        st->st_size = (off_t)file->len;
        st->st_blocks = (blkcnt_t)((file->len < m->job->used ? file->len : m->job->used) / 512);
    }
    return true;
}

static void on_init(void *data, struct fuse_conn_info *conn)
{
    (void)data;
    conn->max_read = REQUEST_BYTES; /* as the option of the mount says */
    conn->max_write = REQUEST_BYTES;
    conn->max_readahead = REQUEST_BYTES;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    const struct mount *m = mount_of(request);
    struct fuse_entry_param entry = {.attr_timeout = FOREVER, .entry_timeout = FOREVER};
    for (size_t i = 0; parent == FUSE_ROOT_ID && i < m->job->nfiles; i++) {
        if (strcmp(m->job->files[i].name, name) == 0) {
            entry.ino = FIRST_FILE + i;
            fill_stat(m, entry.ino, &entry.attr);
            fuse_reply_entry(request, &entry);
            return;
        }
    }
    fuse_reply_err(request, ENOENT);
}

static void on_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *info)
{
    struct stat st;
    (void)info;
    if (fill_stat(mount_of(request), ino, &st)) {
        fuse_reply_attr(request, &st, FOREVER);
    } else {
        fuse_reply_err(request, ENOENT);
    }
}

/** Times are taken without effect, and so is a length of 0, which comes from O_TRUNC: as with a device. */
static void on_setattr(fuse_req_t request, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *info)
{
    const struct mount_file *file = file_of(mount_of(request), ino);
    const int owner = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    if (file == NULL || (to_set & owner) != 0) {
        fuse_reply_err(request, EPERM);
    } else if ((to_set & FUSE_SET_ATTR_SIZE) != 0 && attr->st_size != 0 && (uint64_t)attr->st_size != file->len) {
        fuse_reply_err(request, EINVAL);
    } else {
        on_getattr(request, ino, info);
    }
}

static void on_readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *info)
{
    const struct mount *m = mount_of(request);
    (void)info;
    if (ino != FUSE_ROOT_ID) {
        fuse_reply_err(request, ENOTDIR);
        return;
    }
    char *list = malloc(size);
    size_t used = 0;
    if (list == NULL) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    for (size_t i = (size_t)off; i < m->job->nfiles + 2; i++) {
        struct stat st = {.st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR};
        const char *name = i == 0 ? "." : "..";
        if (i >= 2) {
            fill_stat(m, FIRST_FILE + i - 2, &st);
            name = m->job->files[i - 2].name;
        }
        size_t need = fuse_add_direntry(request, list + used, size - used, name, &st, (off_t)i + 1);
        if (need > size - used) {
            break;
        }
        used += need;
    }
    fuse_reply_buf(request, list, used);
    free(list);
}

static void on_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *info)
{
    const struct mount *m = mount_of(request);
    const struct mount_file *file = file_of(m, ino);
    if (file == NULL) {
        fuse_reply_err(request, EISDIR);
    } else if ((info->flags & O_ACCMODE) != O_RDONLY && !is_writable(m, file)) {
        fuse_reply_err(request, EROFS);
    } else {
        /* What cannot change may be remembered; else an open sees what another file of the mount has written. */
        info->keep_cache = !m->job->writable;
        fuse_reply_open(request, info);
    }
}

/* ---- bytes ---- */

/** The sectors that a range of bytes lies in. */
struct span {
    uint64_t sector;
    uint64_t nsectors;
    size_t skip; /* bytes before the range in the first one */
    bool whole;  /* nothing but the range */
};

static struct span span_of(uint64_t off, size_t len)
{
    struct span s = {.sector = off / SECTOR_BYTES, .skip = (size_t)(off % SECTOR_BYTES)};
    s.nsectors = (off + len + SECTOR_BYTES - 1) / SECTOR_BYTES - s.sector;
    s.whole = s.skip == 0 && len % SECTOR_BYTES == 0;
    return s;
}

/** How much of a request lies within the file. */
static size_t clip(const struct mount_file *file, size_t size, off_t off)
{
    uint64_t left = off >= 0 && (uint64_t)off < file->len ? file->len - (uint64_t)off : 0;
    return size < left ? size : (size_t)left;
}

static void on_read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *info)
{
    const struct mount *m = mount_of(request);
    const struct mount_file *file = file_of(m, ino);
    (void)info;
    if (file == NULL) {
        fuse_reply_err(request, EISDIR);
        return;
    }
    size = clip(file, size, off);
    if (size == 0 || file->text != NULL) {
        fuse_reply_buf(request, size == 0 ? NULL : file->text + off, size);
        return;
    }
    struct span span = span_of(file->off + (uint64_t)off, size);
    void *bytes = NULL;
    if (posix_memalign(&bytes, 4096, span.nsectors * SECTOR_BYTES) != 0) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    VixError code = VixDiskLib_Read(m->job->disk, span.sector, span.nsectors, bytes);
    if (code == VIX_OK) {
        fuse_reply_buf(request, (const char *)bytes + span.skip, size);
    } else {
        reply_failure(request, code);
    }
    free(bytes);
}

/** Writes a range that does not begin and end with a sector. */
static VixError write_part(struct mount *m, const struct span *span, const char *bytes, size_t size)
{
    uint8 *sectors = malloc(span->nsectors * SECTOR_BYTES);
    if (sectors == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    pthread_rwlock_wrlock(&m->parts);
    VixError code = VixDiskLib_Read(m->job->disk, span->sector, span->nsectors, sectors);
    if (code == VIX_OK) {
        memcpy(sectors + span->skip, bytes, size);
        code = VixDiskLib_Write(m->job->disk, span->sector, span->nsectors, sectors);
    }
    pthread_rwlock_unlock(&m->parts);
    free(sectors);
    return code;
}

static void on_write(fuse_req_t request, fuse_ino_t ino, const char *bytes, size_t size, off_t off,
                     struct fuse_file_info *info)
{
    struct mount *m = mount_of(request);
    const struct mount_file *file = file_of(m, ino);
    VixError code;
    (void)info;
    if (file == NULL || !is_writable(m, file)) {
        fuse_reply_err(request, EROFS);
        return;
    }
    size = clip(file, size, off);
    if (size == 0) {
        fuse_reply_err(request, ENOSPC);
        return;
    }
    struct span span = span_of(file->off + (uint64_t)off, size);
    if (span.whole) {
        pthread_rwlock_rdlock(&m->parts);
        code = VixDiskLib_Write(m->job->disk, span.sector, span.nsectors, (const uint8 *)bytes);
        pthread_rwlock_unlock(&m->parts);
    } else {
        code = write_part(m, &span, bytes, size);
    }
    if (code == VIX_OK) {
        fuse_reply_write(request, size);
    } else {
        reply_failure(request, code);
    }
}

static void on_fsync(fuse_req_t request, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    VixError code = VixDiskLib_Flush(mount_of(request)->job->disk);
    (void)ino;
    (void)data_only;
    (void)info;
    if (code == VIX_OK) {
        fuse_reply_err(request, 0);
    } else {
        reply_failure(request, code);
    }
}

/* ---- holes ---- */

/** Makes a range of the disk read as zeros: its whole sectors give back the space that they take. */
static VixError zero_range(struct mount *m, uint64_t off, uint64_t len)
{
    static const char zeros[SECTOR_BYTES];
    VixError code = VIX_OK;
    while (len > 0 && code == VIX_OK) {
        uint64_t n = SECTOR_BYTES - off % SECTOR_BYTES;
        n = n < len ? n : len;
        if (n < SECTOR_BYTES) {
            struct span span = span_of(off, (size_t)n);
            code = write_part(m, &span, zeros, (size_t)n);
        } else {
            n = len - len % SECTOR_BYTES;
            pthread_rwlock_rdlock(&m->parts);
            code = VixDiskLibExt_WriteZeros(m->job->disk, off / SECTOR_BYTES, n / SECTOR_BYTES);
            pthread_rwlock_unlock(&m->parts);
        }
        off += n;
        len -= n;
    }
    return code;
}

/** Holes and ranges of zeros within the file; space is not taken ahead. */
static void on_fallocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *info)
{
    struct mount *m = mount_of(request);
    const struct mount_file *file = file_of(m, ino);
    int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    (void)info;
    if (file == NULL || !is_writable(m, file)) {
        fuse_reply_err(request, EROFS);
    } else if ((kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) || off < 0 || len <= 0) {
        fuse_reply_err(request, EOPNOTSUPP);
    } else {
        VixError code = zero_range(m, file->off + (uint64_t)off, clip(file, (size_t)len, off));
        if (code == VIX_OK) {
            fuse_reply_err(request, 0);
        } else {
            reply_failure(request, code);
        }
    }
}

struct seek {
    bool wants_hole;
    bool found;
    uint64_t at;
};

static Bool seek_run(void *data, const VixDiskLibExt_Run *run)
{
    struct seek *s = data;
    if (!run->zero == s->wants_hole) {
        return TRUE;
    }
    s->found = true;
    s->at = run->startBytes;
    return FALSE;
}

/** SEEK_DATA and SEEK_HOLE; the others are the kernel's. */
static void on_lseek(fuse_req_t request, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *info)
{
    const struct mount *m = mount_of(request);
    const struct mount_file *file = file_of(m, ino);
    struct seek seek = {.wants_hole = whence == SEEK_HOLE};
    (void)info;
    if (file == NULL || file->text != NULL || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    if (clip(file, 1, off) == 0) {
        fuse_reply_err(request, ENXIO);
        return;
    }
    uint64_t sector = (file->off + (uint64_t)off) / SECTOR_BYTES;
    VixError code =
        VixDiskLibExt_Map(m->job->disk, sector, (file->off + file->len) / SECTOR_BYTES - sector, seek_run, &seek);
    uint64_t at = seek.found ? seek.at - file->off : file->len;
    if (code != VIX_OK) {
        reply_failure(request, code);
    } else if (!seek.found && !seek.wants_hole) {
        fuse_reply_err(request, ENXIO);
    } else {
        fuse_reply_lseek(request, at > (uint64_t)off ? (off_t)at : off);
    }
}

static const struct fuse_lowlevel_ops operations = {
    .init = on_init,
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readdir = on_readdir,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .fallocate = on_fallocate,
    .lseek = on_lseek,
};

/* ---- mounting, and the end ---- */

extern char **environ;

/** Asks for the mount to be ended, as a user would: it fails, and says so, while the mount is in use. */
static void unmount(const struct mount_job *job)
{
    char program[] = "fusermount3";
    char option[] = "-u";
    char end[] = "--";
    char *folder = strdup(job->folder);
    char *argv[] = {program, option, end, folder, NULL};
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t child;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    if (folder != NULL && posix_spawnp(&child, program, NULL, &attr, argv, environ) == 0) {
        waitpid(child, NULL, 0);
    }
    posix_spawnattr_destroy(&attr);
    free(folder);
}

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

/** Takes the signals that ask for the end; after the mount has ended, mount_serve sends one to end this thread. */
static void *watch_signals(void *data)
{
    struct mount *m = data;
    sigset_t set;
    int sig;
    stop_signals(&set);
    while (sigwait(&set, &sig) == 0 && !fuse_session_exited(m->session)) {
        /* if it stays mounted and is killed for that, what was written is there */
        (void)VixDiskLib_Flush(m->job->disk);
        unmount(m->job);
    }
    return NULL;
}

/** Lets the kernel read ahead as far as one request goes; only root may. */
static void raise_readahead(const char *folder)
{
    char path[96];
    struct stat st;
    if (stat(folder, &st) != 0) {
        return;
    }
    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
    FILE *file = fopen(path, "we");
    if (file != NULL) {
        fprintf(file, "%d\n", READAHEAD_KIB);
        fclose(file);
    }
}

/** Answers requests until the mount is gone. */
static void *serve(void *data)
{
    struct mount *m = data;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_session_loop_mt(m->session, config);
    fuse_loop_cfg_destroy(config);
    /* also when it ended by itself, so that the watcher knows */
    fuse_session_exit(m->session);
    return NULL;
}

/** Serves on a thread, since the mount has to answer before it can be said to be ready. */
static bool run_threads(struct mount *m)
{
    pthread_t watcher;
    pthread_t server;
    if (pthread_create(&watcher, NULL, watch_signals, m) != 0) {
        return false;
    }
    bool serving = pthread_create(&server, NULL, serve, m) == 0;
    if (serving) {
        raise_readahead(m->job->folder);
        m->job->ready(m->job->data);
        pthread_join(server, NULL);
    }
    fuse_session_exit(m->session);
    pthread_kill(watcher, SIGTERM);
    pthread_join(watcher, NULL);
    return serving;
}

/** The options of the mount; commas and backslashes in the name of the source are escaped. */
static bool make_options(const struct mount_job *job, char *text, size_t size)
{
    int n =
        snprintf(text, size, "subtype=vixdisk,default_permissions,auto_unmount,max_read=%u%s%s,fsname=", REQUEST_BYTES,
                 job->writable ? "" : ",ro", job->allow_other ? ",allow_other" : "");
    size_t used = (size_t)n;
    for (const char *c = job->source; *c != '\0'; c++) {
        if (used + 3 > size) {
            return false;
        }
        if (*c == ',' || *c == '\\') {
            text[used++] = '\\';
        }
        text[used++] = *c;
    }
    text[used] = '\0';
    return true;
}

bool mount_serve(struct cli *cli, const struct mount_job *job)
{
    struct mount m = {.cli = cli, .job = job, .parts = PTHREAD_RWLOCK_INITIALIZER};
    char options[8192];
    char program[] = "vixdisk-mount";
    char flag[] = "-o";
    char *argv[] = {program, flag, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    sigset_t set;
    clock_gettime(CLOCK_REALTIME, &m.since);
    if (!make_options(job, options, sizeof options)) {
        return false;
    }
    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    m.session = fuse_session_new(&args, &operations, sizeof operations, &m);
    bool mounted = m.session != NULL && fuse_session_mount(m.session, job->folder) == 0;
    bool served = mounted && run_threads(&m);
    if (mounted) {
        fuse_session_unmount(m.session);
    }
    if (m.session != NULL) {
        fuse_session_destroy(m.session);
    }
    fuse_opt_free_args(&args);
    pthread_rwlock_destroy(&m.parts);
    return served;
}
