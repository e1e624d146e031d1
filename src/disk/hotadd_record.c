/* SPDX-License-Identifier: BSD-3-Clause */
/* hotadd_record.c - files of lines "name=value" under a first line that says what they are. */
#include "disk/hotadd_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "base/text.h"

#define FIRST_LINE "vixdisk hotadd 1\n"
#define NAME_PREFIX "disk-"
#define RECORD_MAX 8192u          /* limit: bytes of a file that tells of an attached disk */
#define UUID_MAX 96u              /* limit: bytes of the UUID in it */
#define RECORDS_MAX 1024u         /* limit: such files; a machine has 60 disks at most */
#define DEFAULT_FOLDER "/var/tmp" /* outlives a restart of the machine, as what is attached does */
#define POLL_MS 100u              /* own: between looks */

/* ---- the folder ---- */

/** Whether it is the user's, and nobody else's to write to. */
static bool is_private(int fd, mode_t type)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() && (st.st_mode & 077) == 0;
}

static VixError open_folder(struct hotadd_folder *f, struct err *err)
{
    const char *above = config_text(CONFIG_TMP_DIRECTORY);

    f->path = alloc_printf(err, "%s/vixdisk-hotadd-%u", above != NULL && above[0] != '\0' ? above : DEFAULT_FOLDER,
                           (unsigned)geteuid());
    if (f->path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (mkdir(f->path, 0700) != 0 && errno != EEXIST) {
        return err_set_errno(err, errno, "%s: cannot make the folder that remembers attached disks", f->path);
    }
    f->folder = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->folder < 0) {
        return err_set_errno(err, errno, "%s: cannot open the folder that remembers attached disks", f->path);
    }
    if (!is_private(f->folder, S_IFDIR)) {
        return err_set(err, VIX_E_FILE_ACCESS_ERROR,
                       "%s: the folder that remembers attached disks is not this user's alone (mode 0700)", f->path);
    }
    return VIX_OK;
}

static bool try_lock(int fd)
{
    int failed;

    do {
        failed = flock(fd, LOCK_EX | LOCK_NB);
    } while (failed != 0 && errno == EINTR);
    return failed == 0;
}

static VixError wait_for_lock(const struct hotadd_folder *f, unsigned max_ms, struct err *err)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};

    for (unsigned waited = 0; !try_lock(f->lock); waited += POLL_MS) {
        if (errno != EWOULDBLOCK) {
            return err_set_errno(err, errno, "%s/lock: cannot lock", f->path);
        }
        if (waited >= max_ms) {
            return err_set(err, VIX_E_OBJECT_IS_BUSY,
                           "%s/lock: others attach and detach disks on this machine for more than %u ms", f->path,
                           max_ms);
        }
        (void)nanosleep(&pause, NULL);
    }
    return VIX_OK;
}

VixError hotadd_folder_lock(unsigned max_ms, struct hotadd_folder *ret_folder, struct err *err)
{
    struct hotadd_folder f = {.folder = -1, .lock = -1};
    VixError code = open_folder(&f, err);

    if (code == VIX_OK) {
        f.lock = openat(f.folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        code = f.lock >= 0 ? wait_for_lock(&f, max_ms, err) : err_set_errno(err, errno, "%s/lock: cannot open", f.path);
    }
    if (code != VIX_OK) {
        hotadd_folder_unlock(&f);
        return code;
    }
    *ret_folder = f;
    return VIX_OK;
}

void hotadd_folder_unlock(struct hotadd_folder *f)
{
    if (f->lock >= 0) {
        (void)close(f->lock);
    }
    if (f->folder >= 0) {
        (void)close(f->folder);
    }
    free(f->path);
    *f = (struct hotadd_folder){.folder = -1, .lock = -1};
}

/* ---- records ---- */

void hotadd_record_free(struct hotadd_record *r)
{
    if (r == NULL) {
        return;
    }
    if (r->fd >= 0) {
        (void)close(r->fd);
    }
    free(r->server);
    free(r->proxy);
    free(r->source);
    free(r->path);
    free(r->mode);
    free(r->uuid);
    free(r->name);
    free(r);
}

void hotadd_record_remove(const struct hotadd_folder *f, struct hotadd_record *r)
{
    if (r != NULL && f->folder >= 0 && unlinkat(f->folder, r->name, 0) != 0 && errno != ENOENT) {
        char reason[128];
        log_news("%s/%s: cannot be removed: %s", f->path, r->name, strerror_r(errno, reason, sizeof reason));
    }
    hotadd_record_free(r);
}

static VixError write_all(struct hotadd_record *r, const char *text, struct err *err)
{
    size_t len = strlen(text);
    ssize_t n;

    do {
        n = write(r->fd, text, len);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len || fdatasync(r->fd) != 0) {
        return err_set_errno(err, n >= 0 && (size_t)n != len ? ENOSPC : errno,
                             "%s: cannot write what is attached to this machine", r->name);
    }
    return VIX_OK;
}

static bool is_line(const char *text)
{
    return text[strcspn(text, "\r\n")] == '\0';
}

static VixError make_text(const struct hotadd_record *w, char **ret_text, struct err *err)
{
    if (!is_line(w->server) || !is_line(w->proxy) || !is_line(w->source) || !is_line(w->path) || !is_line(w->mode)) {
        return err_set(err, VIX_E_INVALID_ARG, "a name of the disk has the end of a line in it");
    }
    *ret_text = alloc_printf(err, FIRST_LINE "server=%s\nproxy=%s\nsource=%s\npath=%s\nmode=%s\npid=%ld\n", w->server,
                             w->proxy, w->source, w->path, w->mode, (long)getpid());
    if (*ret_text != NULL && strlen(*ret_text) > RECORD_MAX - 160) {
        free(*ret_text);
        return err_set(err, VIX_E_INVALID_ARG, "the names of the disk take more than %u bytes", RECORD_MAX - 160);
    }
    return *ret_text != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static VixError create_file(const struct hotadd_folder *f, struct hotadd_record *r, struct err *err)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        return err_set_errno(err, errno, "no random number can be had");
    }
    r->name = alloc_printf(err, NAME_PREFIX "%016" PRIx64, number);
    if (r->name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    r->fd = openat(f->folder, r->name, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (r->fd < 0 || !try_lock(r->fd)) {
        return err_set_errno(err, errno, "%s/%s: cannot make", f->path, r->name);
    }
    return VIX_OK;
}

VixError hotadd_record_new(const struct hotadd_folder *f, const struct hotadd_record *what,
                           struct hotadd_record **ret_record, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    VixError code = make_text(what, &text, err);
    struct hotadd_record *r = code == VIX_OK ? alloc_zero(sizeof *r, err) : NULL;

    if (r == NULL) {
        return code == VIX_OK ? VIX_E_OUT_OF_MEMORY : code;
    }
    r->fd = -1;
    r->server = alloc_text(what->server, err);
    r->proxy = alloc_text(what->proxy, err);
    r->source = alloc_text(what->source, err);
    r->path = alloc_text(what->path, err);
    r->mode = alloc_text(what->mode, err);
    bool all = r->server != NULL && r->proxy != NULL && r->source != NULL && r->path != NULL && r->mode != NULL;
    code = all ? create_file(f, r, err) : VIX_E_OUT_OF_MEMORY;
    if (code == VIX_OK) {
        code = write_all(r, text, err);
        if (code == VIX_OK && fsync(f->folder) != 0) {
            code = err_set_errno(err, errno, "%s: cannot be put on stable storage", f->path);
        }
        if (code != VIX_OK) {
            (void)unlinkat(f->folder, r->name, 0);
        }
    }
    if (code != VIX_OK) {
        hotadd_record_free(r);
        return code;
    }
    *ret_record = r;
    return VIX_OK;
}

VixError hotadd_record_set_key(struct hotadd_record *r, int32_t key, struct err *err)
{
    char line[32];

    r->key = key;
    (void)snprintf(line, sizeof line, "key=%" PRId32 "\n", key);
    return write_all(r, line, err);
}

VixError hotadd_record_set_uuid(struct hotadd_record *r, const char *uuid, struct err *err)
{
    char line[UUID_MAX + 8];

    if (uuid == NULL || strlen(uuid) > UUID_MAX || !is_line(uuid) || uuid[0] == '\0') {
        return VIX_OK;
    }
    r->uuid = alloc_text(uuid, err);
    if (r->uuid == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)snprintf(line, sizeof line, "uuid=%s\n", uuid);
    return write_all(r, line, err);
}

/* ---- reading them ---- */

/** One line; what is not known is passed over. false: no memory, or a value that is none. */
static bool take_line(struct hotadd_record *r, const char *line)
{
    const struct {
        const char *name;
        char **value;
    } fields[] = {{"server=", &r->server}, {"proxy=", &r->proxy}, {"source=", &r->source},
                  {"path=", &r->path},     {"mode=", &r->mode},   {"uuid=", &r->uuid}};

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        size_t len = strlen(fields[i].name);
        if (strncmp(line, fields[i].name, len) == 0 && *fields[i].value == NULL) {
            *fields[i].value = alloc_text(line + len, NULL);
            return *fields[i].value != NULL;
        }
    }
    if (strncmp(line, "key=", 4) == 0) {
        uint64_t key;
        if (!text_to_u64(line + 4, &key) || key > INT32_MAX) {
            return false;
        }
        r->key = (int32_t)key;
    }
    return true;
}

static bool parse_record(struct hotadd_record *r, char *text)
{
    char *rest = text + sizeof FIRST_LINE - 1;
    char *line;

    if (strncmp(text, FIRST_LINE, sizeof FIRST_LINE - 1) != 0) {
        return false;
    }
    while (strchr(rest, '\n') != NULL && (line = strsep(&rest, "\n")) != NULL) { /* the last may be cut: not a line */
        if (!take_line(r, line)) {
            return false;
        }
    }
    return r->server != NULL && r->proxy != NULL && r->source != NULL && r->path != NULL && r->mode != NULL;
}

enum record_kind { RECORD_GOOD, RECORD_CUT, RECORD_FOREIGN };

/** Reads one file. RECORD_CUT: a crash came while it was written, before anything was attached. */
static enum record_kind read_record(const struct hotadd_folder *f, struct hotadd_record *r)
{
    char text[RECORD_MAX + 1];

    r->fd = openat(f->folder, r->name, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (r->fd < 0 || !is_private(r->fd, S_IFREG)) {
        return RECORD_FOREIGN;
    }
    r->live = !try_lock(r->fd);
    ssize_t len = pread(r->fd, text, RECORD_MAX, 0);
    if (len < 0) {
        return RECORD_FOREIGN;
    }
    text[len] = '\0';
    return parse_record(r, text) ? RECORD_GOOD : r->live ? RECORD_FOREIGN : RECORD_CUT;
}

static VixError add_record(const struct hotadd_folder *f, const char *name, struct hotadd_records *all, struct err *err)
{
    struct hotadd_record *r = alloc_zero(sizeof *r, err);

    if (r == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    r->fd = -1;
    r->name = alloc_text(name, err);
    if (r->name == NULL) {
        hotadd_record_free(r);
        return VIX_E_OUT_OF_MEMORY;
    }
    switch (read_record(f, r)) {
    case RECORD_GOOD:
        all->records[all->count++] = r;
        return VIX_OK;
    case RECORD_CUT:
        log_news("%s/%s: is no record of an attached disk: removed", f->path, name);
        hotadd_record_remove(f, r);
        return VIX_OK;
    case RECORD_FOREIGN:
    default:
        hotadd_record_free(r);
        return VIX_OK;
    }
}

static void close_dir(DIR **dir)
{
    if (*dir != NULL) {
        (void)closedir(*dir);
    }
}

VixError hotadd_records_load(const struct hotadd_folder *f, struct hotadd_records *ret_records, struct err *err)
{
    struct hotadd_records all = {.records = alloc_array(RECORDS_MAX, sizeof *all.records, err)};
    int fd = openat(f->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    VixError code = all.records != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    if (dir == NULL) {
        code = err_set_errno(err, errno, "%s: cannot read the folder", f->path);
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    while (code == VIX_OK && all.count < RECORDS_MAX && (entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, NAME_PREFIX, sizeof NAME_PREFIX - 1) == 0) {
            code = add_record(f, entry->d_name, &all, err);
        }
    }
    if (code != VIX_OK) {
        hotadd_records_free(&all);
        return code;
    }
    *ret_records = all;
    return VIX_OK;
}

void hotadd_records_free(struct hotadd_records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        hotadd_record_free(records->records[i]);
    }
    free(records->records);
    *records = (struct hotadd_records){0};
}
