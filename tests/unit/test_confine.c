/* SPDX-License-Identifier: BSD-3-Clause */
/* What a confined process can still do, tried in a child, since there is no way back; and what it tells systemd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/confine.h"
#include "daemon/notify.h"

static char folder[64];
static struct host_datastore stores[2] = {{.name = (char *)(uintptr_t) "rw", .writable = true},
                                          {.name = (char *)(uintptr_t) "ro"}};
static struct host_config config = {.datastores = stores, .datastore_count = 2};

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *path)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    (void)strcpy(folder, "/tmp/vixdisk-confine.XXXXXX");
    if (mkdtemp(folder) == NULL || mkdir(at("rw"), 0700) != 0 || mkdir(at("ro"), 0700) != 0 ||
        mkdir(at("rw/a"), 0700) != 0 || mkdir(at("rw/b"), 0700) != 0) {
        return -1;
    }
    put(at("secret"));
    put(at("rw/a/disk"));
    put(at("ro/disk"));
    stores[0].path = strdup(at("rw"));
    stores[1].path = strdup(at("ro"));
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"secret", "ro/disk", "ro/made", "rw/a/disk", "rw/b/disk", "rw/a/made", "rw/c",
                                        "rw/a",   "rw/b",    "rw",      "ro",        "socket",    ""};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)remove(at(names[i]));
    }
    free(stores[0].path);
    free(stores[1].path);
    return 0;
}

/** The errno of opening a file; 0: it was opened. */
static int opening(const char *path, int how)
{
    int fd = open(path, how | O_CLOEXEC, 0666);
    int e = errno;

    if (fd < 0) {
        return e;
    }
    (void)close(fd);
    return 0;
}

static int outcome(int result)
{
    return result == 0 ? 0 : errno;
}

/** The errno of connecting to a port of loopback at which somebody listens. */
static int connecting(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int e = outcome(connect(fd, (struct sockaddr *)&to, sizeof to));

    (void)close(fd);
    return e;
}

static int listener(uint16_t *ret_port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof here;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &len), 0);
    *ret_port = here.sin_port;
    return fd;
}

struct
try {
    const char *what;
    int got, want;
};

/** In the child: the number of the first thing that does not come out as it is to be; 0: none. */
static int try_everything(long version, uint16_t port)
{
    char *const none[] = {NULL};
    struct err err;

    err_init(&err);
    if (confine_files(&config, NULL, &err) != VIX_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 100;
    }
    struct try tries[] = {
        {"read in a writable datastore", opening(at("rw/a/disk"), O_RDONLY), 0},
        {"write there", opening(at("rw/a/disk"), O_RDWR | O_TRUNC), 0},
        {"make there", opening(at("rw/a/made"), O_RDWR | O_CREAT | O_EXCL), 0},
        {"remove there", outcome(unlink(at("rw/a/made"))), 0},
        {"move from folder to folder", outcome(rename(at("rw/a/disk"), at("rw/b/disk"))), 0},
        {"make a folder", outcome(mkdir(at("rw/c"), 0700)), 0},
        {"make a symbolic link", outcome(symlink("/etc/passwd", at("rw/link"))), EACCES},
        {"make a pipe", outcome(mkfifo(at("rw/pipe"), 0600)), EACCES},
        {"read in another datastore", opening(at("ro/disk"), O_RDONLY), 0},
        {"list it", opening(at("ro"), O_RDONLY | O_DIRECTORY), 0},
        {"write there", opening(at("ro/disk"), O_RDWR), EACCES},
        {"make there", opening(at("ro/made"), O_RDWR | O_CREAT), EACCES},
        {"remove there", outcome(unlink(at("ro/disk"))), EACCES},
        {"take from there", outcome(rename(at("ro/disk"), at("rw/b/stolen"))), EACCES},
        {"read beside them", opening(at("secret"), O_RDONLY), EACCES},
        {"read the system's files", opening("/etc/passwd", O_RDONLY), EACCES},
        {"truncate beside them", outcome(truncate(at("secret"), 0)), version >= 3 ? EACCES : 0},
        {"run a program", outcome(execv("/bin/true", none)), EACCES},
        {"connect to others", connecting(port), version >= 4 ? EACCES : 0},
        {"signal the parent", outcome(kill(getppid(), 0)), version >= 6 ? EPERM : 0},
    };
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        if (tries[i].got != tries[i].want) {
            (void)fprintf(stderr, "%s: errno %d, not %d\n", tries[i].what, tries[i].got, tries[i].want);
            return (int)i + 1;
        }
    }
    return 0;
}

static int in_child(int (*body)(long, uint16_t), long version, uint16_t port)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(body(version, port));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/** Where the kernel has no Landlock the host must run all the same. */
static int try_without(long version, uint16_t port)
{
    struct err err;

    (void)version;
    (void)port;
    err_init(&err);
    return confine_files(&config, NULL, &err) == VIX_OK && opening("/etc/passwd", O_RDONLY) == 0 ? 0 : 1;
}

static void test_files(void **state)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1u);
    uint16_t port;
    int fd = listener(&port);

    (void)state;
    (void)fprintf(stderr, "Landlock %ld\n", version);
    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(in_child(version >= 2 ? try_everything : try_without, version, port), 0);
    assert_int_equal(close(fd), 0);
}

static int try_missing(long version, uint16_t port)
{
    struct err err;
    char *path = stores[1].path;

    (void)version;
    (void)port;
    err_init(&err);
    stores[1].path = (char *)(uintptr_t) "/nowhere/at/all";
    VixError code = confine_files(&config, NULL, &err);
    stores[1].path = path;
    return code == VIX_E_FILE_NOT_FOUND && strstr(err.text, "/nowhere/at/all") != NULL ? 0 : 1;
}

static void test_missing_folder(void **state)
{
    (void)state;
    if (syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1u) >= 2) {
        assert_int_equal(in_child(try_missing, 0, 0), 0);
    }
}

static int try_process(long version, uint16_t port)
{
    struct rlimit core;
    struct stat st;

    (void)version;
    (void)port;
    (void)umask(0);
    confine_process();
    put(at("rw/a/made"));
    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0 &&
                   prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && stat(at("rw/a/made"), &st) == 0 &&
                   (st.st_mode & 0777) == 0640
#if !defined(__SANITIZE_ADDRESS__)
                   && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
#endif
               ? 0
               : 1;
}

static void test_process(void **state)
{
    (void)state;
    assert_int_equal(in_child(try_process, 0, 0), 0);
}

static int try_user(long version, uint16_t port)
{
    struct err err;

    (void)version;
    (void)port;
    err_init(&err);
    if (geteuid() != 0) {
        return confine_user("nobody", &err) == VIX_OK ? 0 : 1; /* stays who it is */
    }
    if (confine_user("no-such-user", &err) != VIX_E_INVALID_ARG || geteuid() != 0) {
        return 2;
    }
    if (confine_user("root", &err) != VIX_OK || geteuid() != 0) {
        return 3;
    }
    if (confine_user("nobody", &err) != VIX_OK) {
        return 4;
    }
    uid_t real, effective, saved;
    gid_t groups[8];
    bool gone = getresuid(&real, &effective, &saved) == 0 && real != 0 && effective == real && saved == real &&
                getgid() != 0 && getegid() != 0 && setuid(0) != 0;
    int count = getgroups(8, groups);
    for (int i = 0; i < count; i++) {
        gone = gone && groups[i] != 0;
    }
    return gone && count >= 0 && opening("/etc/shadow", O_RDONLY) == EACCES ? 0 : 5;
}

static void test_user(void **state)
{
    (void)state;
    assert_int_equal(in_child(try_user, 0, 0), 0);
}

static void test_notify(void **state)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    char text[64] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    notify_send("READY=1"); /* to nobody */
    assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
    notify_begin();
    notify_send("READY=1");
    (void)snprintf(here.sun_path, sizeof here.sun_path, "%s", at("socket"));
    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", here.sun_path, 1), 0);
    notify_begin();
    notify_send("STOPPING=1");
    assert_int_equal(recv(fd, text, sizeof text, MSG_DONTWAIT), 10);
    assert_string_equal(text, "STOPPING=1");
    assert_int_equal(close(fd), 0);
    notify_send("WATCHDOG=1"); /* whoever listened is gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files), cmocka_unit_test(test_missing_folder), cmocka_unit_test(test_process),
        cmocka_unit_test(test_user),  cmocka_unit_test(test_notify),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
