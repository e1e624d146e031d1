/* SPDX-License-Identifier: BSD-3-Clause */
/* doctor_library.c - looks for the library as the programs do that use it: in which folder, by which names. It is
 * loaded in a child process, which may die of it. Where they look is taken from their sources and guides; nbdkit's own
 * folder depends on how it was built. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"

#define LOAD_SECONDS 30
#define TEXT_BYTES (2 * PATH_MAX + 256)

struct consumer {
    const char *name;
    const char *dirs[4];   /* where it looks by itself; the first that exists counts */
    bool plain;            /* lib64/libvixDiskLib.so must lead to a file */
    bool flat;             /* looks beside lib64/ too */
    const char *versions;  /* of the names that it looks for, one digit each, the first is the one taken */
    bool wants_scsi_disks; /* its wrapper looks for SCSI disks and the list of mounts */
};

#define NBDKIT_VERSIONS "876"

static const struct consumer consumers[] = {
    {.name = "nbdkit",
     .dirs = {"/usr/lib64/vmware-vix-disklib",
#if defined(__x86_64__)
              "/usr/lib/x86_64-linux-gnu/vmware-vix-disklib",
#elif defined(__aarch64__)
              "/usr/lib/aarch64-linux-gnu/vmware-vix-disklib",
#endif
              "/usr/lib/vmware-vix-disklib"},
     .flat = true,
     .versions = NBDKIT_VERSIONS},
    {.name = "cdi",
     .dirs = {"/opt/vmware-vix-disklib-distrib"},
     .plain = true,
     .flat = true,
     .versions = NBDKIT_VERSIONS},
    {.name = "xo",
     .dirs = {"/usr/local/lib/vddk/vmware-vix-disklib-distrib"},
     .plain = true,
     .flat = true,
     .versions = NBDKIT_VERSIONS},
    {.name = "bareos", .dirs = {"/usr/lib/vmware-vix-disklib"}, .versions = "9876", .wants_scsi_disks = true},
};

static const struct consumer *find_consumer(const char *name)
{
    for (size_t i = 0; i < sizeof consumers / sizeof consumers[0]; i++) {
        if (strcmp(consumers[i].name, name) == 0) {
            return &consumers[i];
        }
    }
    return NULL;
}

bool doctor_knows(const char *consumer)
{
    return find_consumer(consumer) != NULL;
}

/* ---- names ---- */

enum found { FOUND_FILE, FOUND_NOTHING, FOUND_BROKEN, FOUND_OTHER };

/** What a name leads to. @ret_text a sentence on it. */
static enum found look_at(const char *path, char ret_text[TEXT_BYTES])
{
    char target[PATH_MAX];
    struct stat st;
    if (stat(path, &st) == 0) {
        bool file = S_ISREG(st.st_mode) && realpath(path, target) != NULL;
        snprintf(ret_text, TEXT_BYTES, "%s is %s", path, file ? target : "not a file");
        return file ? FOUND_FILE : FOUND_OTHER;
    }
    int errnum = errno;
    ssize_t len = readlink(path, target, sizeof target - 1);
    target[len > 0 ? len : 0] = '\0';
    if (len > 0) {
        snprintf(ret_text, TEXT_BYTES, "%s is a link to %s: %s", path, target, strerrordesc_np(errnum));
        return FOUND_BROKEN;
    }
    snprintf(ret_text, TEXT_BYTES, "%s: %s", path, strerrordesc_np(errnum));
    return errnum == ENOENT ? FOUND_NOTHING : FOUND_OTHER;
}

static const char *advice_on(enum found found)
{
    switch (found) {
    case FOUND_FILE:
        return NULL;
    case FOUND_NOTHING:
        return "install vixdisk's tree there, or add that name as a link to the library's file (ln -s)";
    case FOUND_BROKEN:
        return "let the link lead to the library's file (ln -sfn); a copy of a tree must keep its links and their "
               "files";
    default:
        return "put the library's file, or a link to it, in its place; every user must be able to read it";
    }
}

static bool look_at_folder(struct doctor *d, const struct consumer *c, const char *libdir, const char **ret_dir)
{
    char text[TEXT_BYTES];
    struct stat st;
    *ret_dir = libdir != NULL ? libdir : c->dirs[0];
    for (size_t i = 0; libdir == NULL && i < sizeof c->dirs / sizeof c->dirs[0] && c->dirs[i] != NULL; i++) {
        if (stat(c->dirs[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            *ret_dir = c->dirs[i];
            break;
        }
    }
    if (stat(*ret_dir, &st) != 0) {
        snprintf(text, sizeof text, "%s: %s", *ret_dir, strerrordesc_np(errno));
        return doctor_tell(d, "folder", text,
                           libdir != NULL ? "see that --libdir is the folder of which lib64 is a part"
                                          : "install vixdisk's tree there, or say with --libdir where it is");
    }
    return doctor_tell(d, "folder", *ret_dir,
                       S_ISDIR(st.st_mode) ? NULL : "it is not a folder: name the one of which lib64 is a part");
}

/** The name by which the program loads the library: of those that it looks for, the first that leads to a file. */
static bool look_at_names(struct doctor *d, const struct consumer *c, const char *dir, char ret_path[PATH_MAX])
{
    static const char *const places[] = {"/lib64", ""};
    char first_text[TEXT_BYTES] = "";
    char text[TEXT_BYTES];
    enum found worst = FOUND_NOTHING;
    for (const char *version = c->versions; *version != '\0'; version++) {
        for (size_t i = 0; i < (c->flat ? 2u : 1u); i++) {
            snprintf(ret_path, PATH_MAX, "%s%s/libvixDiskLib.so.%c", dir, places[i], *version);
            enum found found = look_at(ret_path, text);
            if (found == FOUND_FILE) {
                return doctor_tell(d, "soname", text, NULL);
            }
            if (first_text[0] == '\0' || (worst == FOUND_NOTHING && found != FOUND_NOTHING)) {
                snprintf(first_text, sizeof first_text, "%s", text);
                worst = found;
            }
        }
    }
    return doctor_tell(d, "soname", first_text, advice_on(worst));
}

static bool look_at_plain_name(struct doctor *d, const char *dir)
{
    char path[PATH_MAX];
    char text[TEXT_BYTES];
    snprintf(path, sizeof path, "%s/lib64/libvixDiskLib.so", dir);
    enum found found = look_at(path, text);
    return doctor_tell(d, "plain name", text, advice_on(found));
}

/* ---- loading ---- */

typedef VixError init_func(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                           VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir,
                           const char *configFile);
typedef void exit_func(void);
typedef const char *version_func(void);

/** The address of a function of a library; NULL. Data and functions have addresses of one kind here, as of POSIX. */
#define FUNCTION_OF(library, type, name) ((type *)(uintptr_t)dlsym(library, name))

/** In the child: loads, starts and ends a library. Returns whether that went well, with a sentence on it. */
static bool load(const char *path, const char *dir, char ret_text[TEXT_BYTES])
{
    /* What all these programs call, as of 6.5; the rest they look up as they need it. */
    static const char *const needed[] = {"VixDiskLib_InitEx",
                                         "VixDiskLib_Exit",
                                         "VixDiskLib_ConnectEx",
                                         "VixDiskLib_Disconnect",
                                         "VixDiskLib_Open",
                                         "VixDiskLib_Close",
                                         "VixDiskLib_GetInfo",
                                         "VixDiskLib_Read",
                                         "VixDiskLib_ReadAsync",
                                         "VixDiskLib_Wait",
                                         "VixDiskLib_Write",
                                         "VixDiskLib_WriteAsync",
                                         "VixDiskLib_Flush",
                                         "VixDiskLib_FreeInfo",
                                         "VixDiskLib_GetErrorText",
                                         "VixDiskLib_AllocateConnectParams",
                                         "VixDiskLib_QueryAllocatedBlocks"};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(ret_text, TEXT_BYTES, "%s", dlerror());
        return false;
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (dlsym(library, needed[i]) == NULL) {
            snprintf(ret_text, TEXT_BYTES, "%s has no %s", path, needed[i]);
            return false;
        }
    }
    VixError code = FUNCTION_OF(library, init_func, "VixDiskLib_InitEx")(6, 5, NULL, NULL, NULL, dir, NULL);
    if (code != VIX_OK) {
        snprintf(ret_text, TEXT_BYTES, "%s: VixDiskLib_InitEx fails with %llu", path, (unsigned long long)code);
        return false;
    }
    version_func *version = FUNCTION_OF(library, version_func, "VixDiskLibExt_Version");
    snprintf(ret_text, TEXT_BYTES, "%s starts: %s%s", path, version != NULL ? "vixdisk " : "a library of another maker",
             version != NULL ? version() : "");
    FUNCTION_OF(library, exit_func, "VixDiskLib_Exit")();
    return true;
}

/** Runs load in this child, and ends it. What the library prints goes nowhere. */
static _Noreturn void load_and_end(const char *path, const char *dir, int out)
{
    char text[TEXT_BYTES];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(LOAD_SECONDS);
    if (null >= 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    bool good = load(path, dir, text);
    bool told = write(out, text, strlen(text)) == (ssize_t)strlen(text);
    _exit(good && told ? 0 : 1);
}

static bool try_load(struct doctor *d, const char *path, const char *dir)
{
    char text[TEXT_BYTES] = "";
    size_t len = 0;
    int status = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return doctor_tell(d, "load", strerrordesc_np(errno), "give this process more descriptors");
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        load_and_end(path, dir, ends[1]);
    }
    close(ends[1]);
    for (ssize_t n = 1; child > 0 && n > 0 && len<sizeof text - 1; len += n> 0 ? (size_t)n : 0) {
        n = read(ends[0], text + len, sizeof text - 1 - len);
    }
    text[len] = '\0';
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return doctor_tell(d, "load", strerrordesc_np(errno), "give this user more processes and memory");
    }
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof text, "%s ends a process that loads it: %s", path,
                 WTERMSIG(status) == SIGALRM ? "it takes too long" : strsignal(WTERMSIG(status)));
    }
    return doctor_tell(d, "load", text,
                       status == 0 ? NULL : "'ldd' and 'file' on it tell what it misses and which machine it is for");
}

/* ---- bareos ---- */

static bool look_at_system(struct doctor *d)
{
    static const char disks[] = "/sys/class/scsi_disk";
    static const char mounts[] = "/etc/mtab";
    char text[128];
    bool good = access(disks, F_OK) == 0;
    snprintf(text, sizeof text, "%s%s%s", disks, good ? "" : ": ", good ? "" : strerrordesc_np(errno));
    if (!doctor_tell(d, "scsi disks", text,
                     good ? NULL : "load the kernel's module sd_mod: bareos does not start without")) {
        return false;
    }
    good = access(mounts, R_OK) == 0;
    snprintf(text, sizeof text, "%s%s%s", mounts, good ? "" : ": ", good ? "" : strerrordesc_np(errno));
    return doctor_tell(d, "mounts", text,
                       good ? NULL : "ln -s /proc/self/mounts /etc/mtab: bareos does not start without");
}

bool doctor_library(struct doctor *d, const char *consumer, const char *libdir)
{
    const struct consumer *c = find_consumer(consumer);
    char path[PATH_MAX];
    const char *dir;
    return look_at_folder(d, c, libdir, &dir) && (!c->plain || look_at_plain_name(d, dir)) &&
           look_at_names(d, c, dir, path) && try_load(d, path, dir) && (!c->wants_scsi_disks || look_at_system(d));
}
