/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that tells of an attached disk. One that is believed has all of its parts, and what is written of these reads
 * as the same; one that is not is removed. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/config.h"
#include "disk/hotadd_record.h"
#include "fuzz.h"

static char above[64];
static struct hotadd_folder folder = {.folder = -1, .lock = -1};

static void remove_all(void)
{
    (void)unlinkat(folder.folder, "disk-input", 0);
    (void)unlinkat(folder.folder, "lock", 0);
    (void)rmdir(folder.path);
    (void)rmdir(above);
    hotadd_folder_unlock(&folder);
    config_clear();
}

static void make_folder(void)
{
    struct err err;

    err_init(&err);
    (void)snprintf(above, sizeof above, "%s/fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_ASSERT(mkdtemp(above) != NULL, "no folder");
    FUZZ_ASSERT(config_set(CONFIG_TMP_DIRECTORY, above, &err) == VIX_OK, "%s", err.text);
    FUZZ_ASSERT(hotadd_folder_lock(1000, &folder, &err) == VIX_OK, "%s", err.text);
    (void)atexit(remove_all);
}

static void write_input(const uint8_t *data, size_t size)
{
    int fd = openat(folder.folder, "disk-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0, "cannot write the file");
}

static void load(struct hotadd_records *ret)
{
    struct err err;

    err_init(&err);
    FUZZ_ASSERT(hotadd_records_load(&folder, ret, &err) == VIX_OK, "%s", err.text);
}

static void same(const struct hotadd_record *a, const struct hotadd_record *b)
{
    FUZZ_ASSERT(strcmp(a->server, b->server) == 0 && strcmp(a->proxy, b->proxy) == 0 &&
                    strcmp(a->source, b->source) == 0 && strcmp(a->path, b->path) == 0 &&
                    strcmp(a->mode, b->mode) == 0 && a->key == b->key,
                "what was written reads otherwise");
}

/* What was read, written and read again. */
static void again(const struct hotadd_record *r)
{
    struct hotadd_record *made = NULL;
    struct hotadd_records all = {0};

    if (hotadd_record_new(&folder, r, &made, NULL) != VIX_OK) {
        return; /* too long, or with the end of a line of another system */
    }
    FUZZ_ASSERT(r->key == 0 || hotadd_record_set_key(made, r->key, NULL) == VIX_OK, "no key");
    char *name = strdup(made->name);
    FUZZ_ASSERT(name != NULL, "no memory");
    hotadd_record_free(made);
    (void)unlinkat(folder.folder, "disk-input", 0);
    load(&all);
    FUZZ_ASSERT(all.count == 1, "%zu records", all.count);
    same(r, all.records[0]);
    hotadd_records_free(&all);
    (void)unlinkat(folder.folder, name, 0);
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hotadd_records all = {0};

    if (folder.folder < 0) {
        make_folder();
    }
    write_input(data, size);
    load(&all);
    FUZZ_ASSERT((all.count == 1) == (faccessat(folder.folder, "disk-input", F_OK, 0) == 0), "%zu records", all.count);
    for (size_t i = 0; i < all.count; i++) {
        const struct hotadd_record *r = all.records[i];
        FUZZ_ASSERT(r->server != NULL && r->proxy != NULL && r->source != NULL && r->path != NULL && r->mode != NULL &&
                        r->key >= 0 && !r->live && strcmp(r->name, "disk-input") == 0,
                    "half a record is believed");
        again(r);
    }
    hotadd_records_free(&all);
    return 0;
}
