/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of VMFS drive: opens a volume and does what lines of standard input say.
 *
 *     probe PARTITION r|w LUN...
 *     info | ls PATH | map PATH | survey PATH | read PATH OFF LEN | write PATH OFF LEN BYTE |
 *     disk PATH SECTOR COUNT | link PATH SECTOR COUNT | wdisk PATH SECTOR COUNT BYTE
 *
 * Each answer is "ok LEN" or "fail CODE LEN", a newline, and LEN bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"
#include "vmfs/vmfs.h"

#define MAX_READ (64u << 20)

struct probe {
    struct vmfs *v;
    struct store_fs *fs;
    char *bytes; /* the answer */
    size_t len;
};

static void answer(struct probe *p, VixError code, const struct err *err)
{
    if (code == VIX_OK) {
        (void)printf("ok %zu\n", p->len);
        if (p->len > 0) {
            (void)fwrite(p->bytes, 1, p->len, stdout);
        }
    } else {
        (void)printf("fail %" PRIu64 " %zu\n%s", (uint64_t)code, strlen(err->text), err->text);
    }
    (void)fflush(stdout);
    free(p->bytes);
    p->bytes = NULL;
    p->len = 0;
}

static void add(struct probe *p, const char *text)
{
    size_t n = strlen(text);
    p->bytes = realloc(p->bytes, p->len + n + 1);
    if (p->bytes == NULL) {
        exit(3);
    }
    memcpy(p->bytes + p->len, text, n + 1);
    p->len += n;
}

static VixError tell_name(void *ctx, const char *name, struct err *err)
{
    (void)err;
    add(ctx, name);
    add(ctx, "\n");
    return VIX_OK;
}

static VixError do_info(struct probe *p)
{
    char line[400];
    const struct vmfs_info *i = vmfs_info(p->v);
    (void)snprintf(line, sizeof line, "%s %s %" PRIu32 " %" PRIu64 " %" PRIu64, i->uuid, i->label, i->major,
                   i->block_size, i->size);
    add(p, line);
    return VIX_OK;
}

static VixError do_map(struct probe *p, struct vmfs_file *f, struct err *err)
{
    char line[200];

    for (uint64_t off = 0; off < vmfs_file_length(f);) {
        struct vmfs_run run;
        VixError code = vmfs_file_map(f, off, vmfs_file_length(f) - off, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        (void)snprintf(line, sizeof line, "%" PRIu64 " %" PRIu64 " %d %zu %" PRIu64 " %d %d\n", run.off, run.len,
                       (int)run.kind, run.kind == VMFS_HOLE ? 0 : run.lun, run.kind == VMFS_HOLE ? 0 : run.lun_off,
                       run.shared, run.within_system);
        add(p, line);
        off += run.len;
    }
    return VIX_OK;
}

static VixError do_survey(struct probe *p, struct vmfs_file *f, struct err *err)
{
    struct vmfs_survey s;
    char line[200];

    VixError code = vmfs_file_survey(f, &s, err);
    if (code == VIX_OK) {
        (void)snprintf(line, sizeof line, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d %d", s.data,
                       s.hole, s.to_be_zeroed, s.unsure, s.not_own, vmfs_file_is_in_use(f),
                       vmfs_file_has_to_be_zeroed(f));
        add(p, line);
    }
    return code;
}

/** Room for an answer of len bytes. */
static VixError make_room(struct probe *p, uint64_t len)
{
    if (len > MAX_READ || (p->bytes = malloc(len + 1)) == NULL) {
        exit(3);
    }
    p->len = len;
    return VIX_OK;
}

static VixError with_file(struct probe *p, const char *command, const char *path, uint64_t off, uint64_t len, int byte,
                          struct err *err)
{
    struct vmfs_file *f = NULL;

    VixError code = vmfs_file_open(p->v, path, &f, err);
    if (code != VIX_OK) {
        return code;
    }
    if (strcmp(command, "map") == 0) {
        code = do_map(p, f, err);
    } else if (strcmp(command, "survey") == 0) {
        code = do_survey(p, f, err);
    } else if (strcmp(command, "read") == 0) {
        code = make_room(p, len) == VIX_OK ? vmfs_file_read(f, p->bytes, len, off, err) : VIX_OK;
    } else {
        (void)make_room(p, len);
        memset(p->bytes, byte, len);
        code = vmfs_file_write(f, p->bytes, len, off, err);
        p->len = 0;
    }
    vmfs_file_close(f);
    return code;
}

static VixError with_disk(struct probe *p, const char *command, const char *path, uint64_t sector, uint64_t count,
                          int byte, struct err *err)
{
    struct disk *d = NULL;
    uint32_t flags = strcmp(command, "wdisk") == 0 ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY;

    if (strcmp(command, "link") == 0) {
        flags |= VIXDISKLIB_FLAG_OPEN_SINGLE_LINK;
    }
    VixError code = disk_open_local(p->fs, path, flags, NULL, &d, err);
    if (code != VIX_OK) {
        return code;
    }
    (void)make_room(p, count * 512);
    if (flags == 0) {
        memset(p->bytes, byte, count * 512);
        code = disk_write(d, sector, count, p->bytes, err);
        p->len = 0;
    } else {
        code = disk_read(d, sector, count, p->bytes, err);
    }
    VixError closed = disk_close(d, code == VIX_OK ? err : NULL);
    return code == VIX_OK ? closed : code;
}

static VixError do_line(struct probe *p, char *line, struct err *err)
{
    char command[16] = "", path[600] = "/";
    uint64_t off = 0, len = 0;
    int byte = 0;

    (void)sscanf(line, "%15s %599s %" SCNu64 " %" SCNu64 " %d", command, path, &off, &len, &byte);
    if (strcmp(command, "info") == 0) {
        return do_info(p);
    }
    if (strcmp(command, "ls") == 0) {
        return vmfs_list(p->v, path, tell_name, p, err);
    }
    if (strstr(command, "disk") != NULL || strcmp(command, "link") == 0) {
        return with_disk(p, command, path, off, len, byte, err);
    }
    return with_file(p, command, path, off, len, byte, err);
}

int main(int argc, char **argv)
{
    struct vmfs_lun luns[VMFS_MAX_LUNS + 1] = {{0}};
    struct probe p = {0};
    size_t count = 0;
    struct err err;
    char line[1000];
    VixError code = VIX_OK;

    err_init(&err);
    if (argc < 3) {
        return 2;
    }
    for (int i = 3; i < argc && count <= VMFS_MAX_LUNS && code == VIX_OK; i++, count++) {
        uint32_t flags = STORE_DEVICE_OK | STORE_UNBUFFERED | (argv[2][0] == 'w' ? STORE_WRITE : 0);
        luns[count].partition = (unsigned)atoi(argv[1]);
        code = store_fs_local()->ops->open(store_fs_local(), argv[i], flags, &luns[count].store, &err);
    }
    if (code == VIX_OK) {
        code = vmfs_open(luns, count, &p.v, &err);
    }
    if (code == VIX_OK) {
        code = vmfs_fs_new(p.v, &p.fs, &err);
    }
    answer(&p, code, &err);
    while (code == VIX_OK && fgets(line, sizeof line, stdin) != NULL) {
        err_init(&err);
        VixError one = do_line(&p, line, &err);
        answer(&p, one, &err);
    }
    vmfs_fs_free(p.fs);
    vmfs_close(p.v);
    for (size_t i = 0; i < count; i++) {
        store_close(luns[i].store);
    }
    return 0;
}
