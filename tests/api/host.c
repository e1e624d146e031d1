/* SPDX-License-Identifier: BSD-3-Clause */
#include "host.h"

#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *host_program;

static pid_t process = -1;
static FILE *said; /* what it says on standard error */
static pthread_t listener;
static bool listening;
static unsigned https_port, nfc_port;
static char thumbprint[128];
static char password[128];

/* Runs a program, its standard error into the pipe of *ret_said, the rest away. It ends with this process. */
static bool spawn(char *const *argv, FILE **ret_said, pid_t *ret_pid)
{
    int pipes[2];

    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return false;
    }
    *ret_pid = fork();
    if (*ret_pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 &&
            dup2(pipes[1], 2) == 2) {
            (void)execv(argv[0], argv);
        }
        _exit(127);
    }
    (void)close(pipes[1]);
    *ret_said = *ret_pid > 0 ? fdopen(pipes[0], "re") : NULL;
    return *ret_said != NULL;
}

static bool set_up(const char *program, const char *folder)
{
    const struct passwd *me = getpwuid(getuid());
    char *argv[] = {(char *)(uintptr_t)program,
                    (char *)(uintptr_t) "--init",
                    (char *)(uintptr_t)folder,
                    (char *)(uintptr_t) "--listen",
                    (char *)(uintptr_t) "127.0.0.1",
                    (char *)(uintptr_t) "--port",
                    (char *)(uintptr_t) "0",
                    (char *)(uintptr_t) "--nfc-port",
                    (char *)(uintptr_t) "0",
                    (char *)(uintptr_t) "--user",
                    me != NULL ? me->pw_name : (char *)(uintptr_t) "root",
                    NULL};
    char line[1024];
    FILE *out = NULL;
    pid_t pid = -1;
    int status = -1;

    if (!spawn(argv, &out, &pid)) {
        return false;
    }
    while (fgets(line, sizeof line, out) != NULL) {
        print_message("vixdiskd --init: %s", line);
    }
    (void)fclose(out);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool read_password(void)
{
    FILE *f = fopen(in_folder("host/password"), "re");
    bool good = f != NULL && fgets(password, sizeof password, f) != NULL;

    password[strcspn(password, "\n")] = '\0';
    if (f != NULL) {
        (void)fclose(f);
    }
    return good;
}

/* What it says later must not fill the pipe. */
static void *listen_on(void *arg)
{
    char line[1024];

    (void)arg;
    while (fgets(line, sizeof line, said) != NULL) {
    }
    return NULL;
}

static bool wait_ready(void)
{
    char line[1024];

    while (fgets(line, sizeof line, said) != NULL) {
        const char *ready = strstr(line, "ready, https ");
        if (ready != NULL &&
            sscanf(ready, "ready, https %u, nfc %u, thumbprint %127s", &https_port, &nfc_port, thumbprint) == 3) {
            listening = pthread_create(&listener, NULL, listen_on, NULL) == 0;
            return listening;
        }
        print_message("vixdiskd: %s", line);
    }
    return false;
}

static void stop_host(void)
{
    if (process > 0) {
        (void)kill(process, SIGTERM);
        (void)waitpid(process, NULL, 0);
        process = -1;
        if (listening) {
            (void)pthread_join(listener, NULL);
            listening = false;
        }
        (void)fclose(said);
    }
}

/* Sets it up in the test's folder and starts it. False, with a message, if that fails. */
static bool start_host(const char *program)
{
    char folder[512], config[600];
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t) "--config", config, NULL};

    (void)snprintf(folder, sizeof folder, "%s", in_folder("host"));
    (void)snprintf(config, sizeof config, "%s/vixdiskd.conf", folder);
    if (!set_up(program, folder) || !read_password()) {
        print_message("%s: no set-up can be made in %s\n", program, folder);
        return false;
    }
    if (!spawn(argv, &said, &process)) {
        print_message("%s cannot be started\n", program);
        return false;
    }
    if (!wait_ready()) {
        stop_host();
        return false;
    }
    return true;
}

int host_setup(void **state)
{
    if (env_setup(state) != 0 || !start_host(host_program)) {
        return -1;
    }
    start_library();
    return 0;
}

int host_teardown(void **state)
{
    VixDiskLib_Exit();
    stop_host();
    return env_done(state);
}

const char *host_file(const char *name)
{
    char path[300];

    (void)snprintf(path, sizeof path, "host/datastore1/%s", name);
    return in_folder(path);
}

VixError host_connect(const char *transport, VixDiskLibConnection *ret_c)
{
    VixDiskLibConnectParams *p = VixDiskLib_AllocateConnectParams();

    if (p == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    p->vmxSpec = (char *)(uintptr_t) "[datastore1] vm1/vm1.vmx";
    p->serverName = (char *)(uintptr_t) "127.0.0.1";
    p->port = https_port;
    p->nfcHostPort = nfc_port;
    p->thumbPrint = thumbprint;
    p->credType = VIXDISKLIB_CRED_UID;
    p->creds.uid.userName = (char *)(uintptr_t) "vixdisk";
    p->creds.uid.password = password;
    p->specType = VIXDISKLIB_SPEC_VMX;
    VixError code = VixDiskLib_ConnectEx(p, FALSE, NULL, transport, ret_c);
    VixDiskLib_FreeConnectParams(p);
    return code;
}
