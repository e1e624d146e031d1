/* SPDX-License-Identifier: BSD-3-Clause */
/* client.c - loads the library, runs the tests, prints a line for each.
 *   dropin LIBRARY [NAME]     all tests, or those whose name has NAME in it */
#include "client.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct client vix;
struct heard heard;

static const char *library;
static char folder[4096];

void client_fail(const char *file, int line, const char *what, VixError err)
{
    printf("# %s:%d: %s: not so", file, line, what);
    if (err != VIX_OK) {
        printf("; returned %lu", err);
    }
    if (heard.last_warning[0] != '\0') {
        printf("; last warning: %s", heard.last_warning);
    }
    printf("\n");
    fflush(stdout);
    _exit(1);
}

static void note_end(const char *fmt)
{
    size_t len = strlen(fmt);
    if (len == 0 || fmt[len - 1] != '\n') {
        heard.unended++;
    }
}

__attribute__((format(printf, 1, 0))) static void on_log(const char *fmt, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, fmt, args);
    note_end(text);
    __atomic_add_fetch(&heard.logs, 1, __ATOMIC_RELAXED);
    if (strncmp(text, "VMware VixDiskLib (", 19) == 0 && strstr(text, "build-") != NULL) {
        heard.version = true;
    }
}

__attribute__((format(printf, 1, 0))) static void on_warn(const char *fmt, va_list args)
{
    vsnprintf(heard.last_warning, sizeof heard.last_warning, fmt, args);
    note_end(heard.last_warning);
    __atomic_add_fetch(&heard.warnings, 1, __ATOMIC_RELAXED);
}

__attribute__((format(printf, 1, 0))) static void on_panic(const char *fmt, va_list args)
{
    on_warn(fmt, args);
    heard.panics++;
}

void client_load(void)
{
    void *handle = dlopen(library, RTLD_NOW);
    if (handle == NULL) {
        printf("# %s\n", dlerror());
        _exit(1);
    }
#define FIND(name)                                                                                                     \
    {                                                                                                                  \
        void *found_ = dlsym(handle, "VixDiskLib_" #name);                                                             \
        CHECK(found_ != NULL && "VixDiskLib_" #name);                                                                  \
        memcpy(&vix.name, &found_, sizeof found_);                                                                     \
    }
    FUNCTIONS(FIND)
#undef FIND
}

void client_start(unsigned major, unsigned minor)
{
    client_load();
    OK(vix.InitEx(major, minor, on_log, on_warn, on_panic, folder, NULL));
}

VixDiskLibConnection client_connect(void)
{
    client_start(6, 5);
    VixDiskLibConnection conn = NULL;
    OK(vix.ConnectEx(NULL, 0, NULL, NULL, &conn));
    CHECK(conn != NULL);
    return conn;
}

void client_end(VixDiskLibConnection conn)
{
    OK(vix.Disconnect(conn));
    vix.Exit();
}

const char *client_path(const char *name)
{
    static char paths[4][sizeof folder + 64];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void client_create(VixDiskLibConnection conn, const char *path, VixDiskLibDiskType type, unsigned mib)
{
    VixDiskLibCreateParams params = {
        .diskType = type,
        .adapterType = VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC,
        .hwVersion = VIXDISKLIB_HWVERSION_WORKSTATION_5,
        .capacity = (VixDiskLibSectorType)mib * 2048,
    };
    OK(vix.Create(conn, path, &params, NULL, NULL));
}

void *client_at_end_of_memory(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len + page - 1) / page * page;
    unsigned char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(base != MAP_FAILED);
    CHECK(mprotect(base + room, page, PROT_NONE) == 0);
    return base + room - len;
}

void client_pattern(unsigned char *buf, size_t len, uint64 start, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = (unsigned char)((start + i) / 512 * 31 + (start + i) * 7 + seed);
    }
}

static bool remove_folder(void)
{
    char command[sizeof folder + 32];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0;
}

/** Runs a test in a child; true if it ended by itself with status 0. */
static bool run(const struct client_test *test)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vixdisk-dropin.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL) {
        return false;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(300);
        test->run();
        CHECK(heard.panics == 0 && heard.unended == 0);
        fflush(stdout);
        exit(0); /* by exit: the leak checks of sanitizers and valgrind run */
    }
    int status = -1;
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    if (ended && WIFSIGNALED(status)) {
        printf("# ended by signal %d\n", WTERMSIG(status));
    }
    return remove_folder() && ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int run_all(const struct client_test *tests, const char *filter, int *ran)
{
    int failed = 0;
    for (; tests->name != NULL; tests++) {
        if (filter != NULL && strstr(tests->name, filter) == NULL) {
            continue;
        }
        bool good = run(tests);
        printf("%s - %s\n", good ? "ok" : "not ok", tests->name);
        failed += !good;
        ++*ran;
    }
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: dropin LIBRARY [NAME]\n");
        return 2;
    }
    library = argv[1];
    int ran = 0;
    const char *filter = argc > 2 ? argv[2] : NULL;
    int failed = run_all(rule_tests, filter, &ran) + run_all(order_tests, filter, &ran);
    return failed != 0 || ran == 0;
}
