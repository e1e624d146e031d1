/* SPDX-License-Identifier: BSD-3-Clause */
/* hostview.c - attributes, folders and devices of this machine by system calls. */
#include "disk/hostview.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/text.h"

#define INQUIRY 0x12u
#define INQUIRY_FIRST 252u /* bytes; some devices do not bear to be asked for more that they have not */
#define INQUIRY_MAX 4096u  /* limit: bytes of a page that a SCSI device answers */
#define INQUIRY_MS 10000u  /* limit: ms for a SCSI device to answer */

struct hostview hostview_here(void)
{
    const char *root = config_text(CONFIG_HOST_ROOT);
    return (struct hostview){.root = root != NULL ? root : ""};
}

static VixError full_path(const struct hostview *v, const char *path, char *full, struct err *err)
{
    int len = snprintf(full, HOSTVIEW_PATH_MAX, "%s%s", v->root, path);

    if (len < 0 || len >= HOSTVIEW_PATH_MAX) {
        return err_set(err, VIX_E_FILE_NAME_INVALID, "%.200s: a path of %d bytes, the most is %d", path, len,
                       HOSTVIEW_PATH_MAX - 1);
    }
    return VIX_OK;
}

static VixError open_path(const struct hostview *v, const char *path, int flags, char *full, int *ret_fd,
                          struct err *err)
{
    VixError code = full_path(v, path, full, err);
    int fd;

    if (code != VIX_OK) {
        return code;
    }
    do {
        fd = open(full, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot open", full);
    }
    *ret_fd = fd;
    return VIX_OK;
}

bool hostview_exists(const struct hostview *v, const char *path)
{
    char full[HOSTVIEW_PATH_MAX];
    return full_path(v, path, full, NULL) == VIX_OK && access(full, F_OK) == 0;
}

/* ---- attributes ---- */

VixError hostview_read(const struct hostview *v, const char *path, char **ret_bytes, size_t *ret_len, struct err *err)
{
    char full[HOSTVIEW_PATH_MAX];
    CLEANUP_CLOSE int fd = -1;
    CLEANUP_FREE char *bytes = alloc_zero(HOSTVIEW_FILE_MAX + 1, err);
    size_t len = 0;

    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = open_path(v, path, O_RDONLY, full, &fd, err);
    while (code == VIX_OK && len < HOSTVIEW_FILE_MAX) {
        ssize_t n = read(fd, bytes + len, HOSTVIEW_FILE_MAX - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            code = err_set_errno(err, errno, "%s: cannot read", full);
        }
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    if (code == VIX_OK) {
        *ret_bytes = TAKE_PTR(bytes);
        *ret_len = len;
    }
    return code;
}

VixError hostview_read_text(const struct hostview *v, const char *path, char **ret_text, struct err *err)
{
    CLEANUP_FREE char *bytes = NULL;
    size_t len = 0;
    VixError code = hostview_read(v, path, &bytes, &len, err);

    if (code != VIX_OK) {
        return code;
    }
    const char *text = text_trim(bytes, strlen(bytes), &len);
    *ret_text = alloc_text_n(text, len, err);
    return *ret_text != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

VixError hostview_read_number(const struct hostview *v, const char *path, uint64_t *ret_number, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    VixError code = hostview_read_text(v, path, &text, err);

    if (code == VIX_OK && !text_to_u64(text, ret_number)) {
        code = err_set(err, VIX_E_FAIL, "%s%s: \"%.100s\" is no number", v->root, path, text);
    }
    return code;
}

VixError hostview_write_text(const struct hostview *v, const char *path, const char *text, struct err *err)
{
    char full[HOSTVIEW_PATH_MAX];
    CLEANUP_CLOSE int fd = -1;
    size_t len = strlen(text);
    ssize_t n;
    VixError code = open_path(v, path, O_WRONLY, full, &fd, err);

    if (code != VIX_OK) {
        return code;
    }
    do {
        n = write(fd, text, len); /* an attribute takes its text by one call or not at all */
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len) {
        return err_set_errno(err, n < 0 ? errno : EIO, "%s: cannot write \"%.40s\"", full, text);
    }
    return VIX_OK;
}

VixError hostview_read_link(const struct hostview *v, const char *path, char **ret_target, struct err *err)
{
    char full[HOSTVIEW_PATH_MAX];
    char target[HOSTVIEW_PATH_MAX];
    VixError code = full_path(v, path, full, err);

    if (code != VIX_OK) {
        return code;
    }
    ssize_t len = readlink(full, target, sizeof target);
    if (len < 0) {
        return err_set_errno(err, errno, "%s: cannot read the link", full);
    }
    if ((size_t)len == sizeof target) {
        return err_set(err, VIX_E_FILE_NAME_INVALID, "%s: leads to a path of more than %zu bytes", full,
                       sizeof target - 1);
    }
    *ret_target = alloc_text_n(target, (size_t)len, err);
    return *ret_target != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

/* ---- folders ---- */

void hostview_names_free(struct hostview_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (struct hostview_names){0};
}

static VixError add_name(struct hostview_names *names, const char *name, struct err *err)
{
    if ((names->count & (names->count + 1)) == 0) { /* full: room for 1, 3, 7 ... */
        char **more = alloc_array(names->count * 2 + 1, sizeof *more, err);
        if (more == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (names->count > 0) {
            memcpy(more, names->names, names->count * sizeof *more);
        }
        free(names->names);
        names->names = more;
    }
    names->names[names->count] = alloc_text(name, err);
    if (names->names[names->count] == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    names->count++;
    return VIX_OK;
}

static VixError read_names(DIR *dir, const char *full, struct hostview_names *names, struct err *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot read the folder", full);
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (names->count == HOSTVIEW_NAMES_MAX) {
            return err_set(err, VIX_E_FAIL, "%s: has more than %u names", full, HOSTVIEW_NAMES_MAX);
        }
        VixError code = add_name(names, entry->d_name, err);
        if (code != VIX_OK) {
            return code;
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

VixError hostview_list(const struct hostview *v, const char *path, struct hostview_names *ret_names, struct err *err)
{
    struct hostview_names names = {0};
    char full[HOSTVIEW_PATH_MAX];
    int fd = -1;
    VixError code = open_path(v, path, O_RDONLY | O_DIRECTORY, full, &fd, err);

    if (code != VIX_OK) {
        return code;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        code = err_set_errno(err, errno, "%s: cannot read the folder", full);
        (void)close(fd);
        return code;
    }
    code = read_names(dir, full, &names, err);
    (void)closedir(dir);
    if (code != VIX_OK) {
        hostview_names_free(&names);
        return code;
    }
    if (names.count > 1) {
        qsort(names.names, names.count, sizeof *names.names, compare_names);
    }
    *ret_names = names;
    return VIX_OK;
}

/* ---- devices ---- */

VixError hostview_open_block(const struct hostview *v, const char *path, uint32_t flags, struct store **ret_store,
                             struct err *err)
{
    char full[HOSTVIEW_PATH_MAX];
    struct store_fs *fs = store_fs_local();
    struct store *store = NULL;
    VixError code = full_path(v, path, full, err);

    if (code == VIX_OK) {
        code = fs->ops->open(fs, full, flags | STORE_UNBUFFERED | STORE_DEVICE_OK, &store, err);
    }
    if (code == VIX_OK && hostview_is_real(v) && !store->is_device) {
        code = err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is no block device", full);
        store_close(store);
    }
    if (code == VIX_OK) {
        *ret_store = store;
    }
    return code;
}

/** One command; *ret_len is what the device has given. */
static VixError ask_for_page(int fd, const char *full, uint8_t page, char *buf, unsigned len, size_t *ret_len,
                             struct err *err)
{
    uint8_t command[6] = {INQUIRY, 1, page, (uint8_t)(len >> 8), (uint8_t)len, 0};
    uint8_t sense[32] = {0};
    struct sg_io_hdr io = {
        .interface_id = 'S',
        .dxfer_direction = SG_DXFER_FROM_DEV,
        .cmd_len = sizeof command,
        .cmdp = command,
        .mx_sb_len = sizeof sense,
        .sbp = sense,
        .dxfer_len = len,
        .dxferp = buf,
        .timeout = INQUIRY_MS,
    };

    if (ioctl(fd, SG_IO, &io) != 0) {
        return err_set_errno(err, errno, "%s: is asked for page 0x%02x", full, (unsigned)page);
    }
    if ((io.info & SG_INFO_OK_MASK) != SG_INFO_OK || io.resid < 0 || (unsigned)io.resid > len) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: has no page 0x%02x: status %u, host %u, driver %u", full,
                       (unsigned)page, (unsigned)io.status, (unsigned)io.host_status, (unsigned)io.driver_status);
    }
    *ret_len = len - (unsigned)io.resid;
    return VIX_OK;
}

/** Once more if the page is longer than was asked for. */
static VixError read_page(int fd, const char *full, uint8_t page, char *buf, size_t *ret_len, struct err *err)
{
    VixError code = ask_for_page(fd, full, page, buf, INQUIRY_FIRST, ret_len, err);

    if (code == VIX_OK && *ret_len >= 4) {
        unsigned whole = 4 + ((unsigned)(uint8_t)buf[2] << 8 | (uint8_t)buf[3]);
        if (whole > INQUIRY_FIRST) {
            code = ask_for_page(fd, full, page, buf, whole < INQUIRY_MAX ? whole : INQUIRY_MAX, ret_len, err);
        }
    }
    return code;
}

VixError hostview_inquiry(const struct hostview *v, const char *path, uint8_t page, char **ret_bytes, size_t *ret_len,
                          struct err *err)
{
    char full[HOSTVIEW_PATH_MAX];
    CLEANUP_CLOSE int fd = -1;

    if (!hostview_is_real(v)) {
        char name[HOSTVIEW_PATH_MAX];
        (void)snprintf(name, sizeof name, "/inquiry/%.100s.%02x", store_path_base(path), (unsigned)page);
        return hostview_read(v, name, ret_bytes, ret_len, err);
    }
    CLEANUP_FREE char *bytes = alloc_zero(INQUIRY_MAX, err);
    if (bytes == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = open_path(v, path, O_RDONLY, full, &fd, err);
    if (code == VIX_OK) {
        code = read_page(fd, full, page, bytes, ret_len, err);
    }
    if (code == VIX_OK) {
        *ret_bytes = TAKE_PTR(bytes);
    }
    return code;
}

/* ---- waiting ---- */

unsigned hostview_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

void hostview_pause_ms(unsigned ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}
