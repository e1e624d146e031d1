/* SPDX-License-Identifier: BSD-3-Clause */
#include "env.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES_MAX 400
#define LINE_SIZE 1600

const VixDiskLibDiskType writable_types[] = {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_SPLIT_SPARSE,
    VIXDISKLIB_DISK_SPLIT_FLAT,        VIXDISKLIB_DISK_VMFS_FLAT,       VIXDISKLIB_DISK_VMFS_THIN,
};
const size_t writable_type_count = sizeof writable_types / sizeof writable_types[0];

struct messages {
    unsigned count;
    char lines[LINES_MAX][LINE_SIZE];
};

static char folder[256];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct messages logged;
static struct messages warned;

static void keep(struct messages *m, const char *fmt, va_list args)
{
    (void)pthread_mutex_lock(&lock);
    (void)vsnprintf(m->lines[m->count % LINES_MAX], LINE_SIZE, fmt, args);
    m->count++;
    (void)pthread_mutex_unlock(&lock);
}

void log_func(const char *fmt, va_list args)
{
    keep(&logged, fmt, args);
}

void warn_func(const char *fmt, va_list args)
{
    keep(&warned, fmt, args);
}

unsigned warn_count(void)
{
    (void)pthread_mutex_lock(&lock);
    unsigned count = warned.count;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

void forget_messages(void)
{
    (void)pthread_mutex_lock(&lock);
    logged.count = 0;
    warned.count = 0;
    (void)pthread_mutex_unlock(&lock);
}

static bool has(struct messages *m, const char *text)
{
    bool found = false;

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < m->count && i < LINES_MAX; i++) {
        found = found || strstr(m->lines[i], text) != NULL;
    }
    (void)pthread_mutex_unlock(&lock);
    return found;
}

bool log_has(const char *text)
{
    return has(&logged, text);
}

bool warn_has(const char *text)
{
    return has(&warned, text);
}

const char *log_line(unsigned index)
{
    return index < logged.count && index < LINES_MAX ? logged.lines[index] : "";
}

int env_setup(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/vixdisk-api-XXXXXX", base != NULL && base[0] == '/' ? base : "/tmp");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

int env_done(void **state)
{
    (void)state;
    VixDiskLib_Exit();
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *in_folder(const char *name)
{
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    (void)closedir(dir);
    return n;
}

void make_file(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void start_library(void)
{
    VixDiskLib_Exit();
    forget_messages();
    assert_code(VixDiskLib_InitEx(8, 0, log_func, warn_func, NULL, NULL, NULL), VIX_OK);
}

VixDiskLibConnection local_connection(void)
{
    VixDiskLibConnection c = NULL;

    assert_code(VixDiskLib_Connect(NULL, &c), VIX_OK);
    assert_non_null(c);
    return c;
}

void make_disk(VixDiskLibConnection c, const char *path, VixDiskLibDiskType type, uint64 sectors)
{
    VixDiskLibCreateParams p = {.diskType = type,
                                .adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                .hwVersion = VIXDISKLIB_HWVERSION_ESX55,
                                .capacity = sectors};

    assert_code(VixDiskLib_Create(c, path, &p, NULL, NULL), VIX_OK);
}

VixDiskLibHandle open_disk(VixDiskLibConnection c, const char *path, uint32 flags)
{
    VixDiskLibHandle h = NULL;

    assert_code(VixDiskLib_Open(c, path, flags, &h), VIX_OK);
    assert_non_null(h);
    return h;
}

VixError open_code(VixDiskLibConnection c, const char *path, uint32 flags)
{
    VixDiskLibHandle h = (VixDiskLibHandle)(uintptr_t)1;

    VixError code = VixDiskLib_Open(c, path, flags, &h);
    assert_null(h);
    return code;
}

void fill(uint8 *buf, size_t len, unsigned seed)
{
    uint32_t v = seed * 2654435761u + 1;

    for (size_t i = 0; i < len; i++) {
        v = v * 1664525u + 1013904223u;
        buf[i] = (uint8)(v >> 24);
    }
}

void *before_a_fence(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8 *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(map != MAP_FAILED && size <= page);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    return map + page - size;
}

void keep_code(void *ctx, VixError code)
{
    struct told *told = ctx;

    told->code = code;
    told->calls++;
}
