/* SPDX-License-Identifier: BSD-3-Clause */
/* Start and end: configuration, identity, ports, then rights are given up, then folders and threads. The
 * main thread waits for signals; every other one has them blocked. */
#include "daemon/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "daemon/confine.h"
#include "daemon/host.h"
#include "daemon/http_face.h"
#include "daemon/log.h"
#include "daemon/nfc_face.h"
#include "daemon/notify.h"
#include "net/tcp.h"

#define PEM_MAX (1u << 20) /* limit: bytes of a certificate chain or key of vixdiskd */

/** What is open before the threads start; -1 and NULL: not, or taken over. */
struct start {
    struct host host;
    char *cert_pem, *key_pem;
    int https_fd, nfc_fd;
};

/* ---- certificates ---- */

static VixError read_pem(const char *path, char **ret_text, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    size_t len = 0;

    if (fd < 0 || fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot open", path);
    }
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)PEM_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: is not a file of at most %u bytes", path, PEM_MAX);
    }
    char *text = alloc_zero((size_t)st.st_size + 1, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (len < (size_t)st.st_size) {
        ssize_t n = read(fd, text + len, (size_t)st.st_size - len);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            VixError code = err_set_errno(err, n < 0 ? errno : EIO, "%s: cannot read", path);
            explicit_bzero(text, len);
            free(text);
            return code;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    *ret_text = text;
    return VIX_OK;
}

static void free_secret(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void warn_of_key(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & 0077) != 0) {
        host_log(HOST_LOG_WARN, "%s: the key can be read or written by others (mode %03o)", path, st.st_mode & 0777);
    }
}

static VixError load_identity(struct start *s, struct err *err)
{
    const struct host_config *config = &s->host.config;
    struct thumbprint print;
    VixError code = tls_identity_load(config->certificate, config->key, &s->host.identity, err);

    if (code == VIX_OK) {
        code = read_pem(config->certificate, &s->cert_pem, err);
    }
    if (code == VIX_OK) {
        code = read_pem(config->key, &s->key_pem, err);
    }
    if (code == VIX_OK) {
        warn_of_key(config->key);
        tls_identity_thumbprint(s->host.identity, &print);
        thumbprint_format(print.sha1, THUMBPRINT_SHA1_LEN, s->host.thumbprint);
    }
    return code;
}

/* ---- start and end ---- */

static VixError make_tables(struct host *host, struct err *err)
{
    const struct host_limits *limits = &host->config.limits;
    VixError code = datastores_open(&host->config, &host->stores, err);

    if (code == VIX_OK) {
        code = sessions_new(limits->sessions, limits->session_idle * 1000, &host->sessions, err);
    }
    if (code == VIX_OK) {
        code = tickets_new(limits->tickets, limits->ticket_life * 1000, &host->tickets, err);
    }
    if (code == VIX_OK) {
        code = leases_new(limits->lease_life * 1000, &host->leases, err);
    }
    return code;
}

static VixError load(struct start *s, const char *config_path, struct err *err)
{
    VixError code = host_config_load(config_path, &s->host.config, err);

    if (code == VIX_OK) {
        /* a linked clone's parent may be in another folder of its datastore; nothing leads out of the datastore */
        code = config_set(CONFIG_ALLOW_OUTSIDE_PATHS, "yes", err);
    }
    return code == VIX_OK ? load_identity(s, err) : code;
}

static VixError bind_ports(struct start *s, struct err *err)
{
    const struct host_config *config = &s->host.config;
    const char *address = strcmp(config->listen, "*") == 0 ? NULL : config->listen;
    VixError code = tcp_listen(address, (uint16_t)config->port, &s->https_fd, &s->host.port, err);

    return code == VIX_OK ? tcp_listen(address, (uint16_t)config->nfc_port, &s->nfc_fd, &s->host.nfc_port, err) : code;
}

static void start_done(struct start *s)
{
    if (s->https_fd >= 0) {
        (void)close(s->https_fd);
    }
    if (s->nfc_fd >= 0) {
        (void)close(s->nfc_fd);
    }
    leases_free(s->host.leases);
    tickets_free(s->host.tickets);
    sessions_free(s->host.sessions);
    datastores_close(&s->host.stores);
    tls_identity_free(s->host.identity);
    free_secret(s->cert_pem);
    free_secret(s->key_pem);
    host_config_done(&s->host.config);
    config_clear();
}

/** Until a signal says to end. */
static void wait_for_the_end(const sigset_t *signals, struct http_face *https)
{
    const struct timespec second = {.tv_sec = 1};

    for (;;) {
        int sig = sigtimedwait(signals, NULL, &second);
        http_face_tick(https);
        notify_send("WATCHDOG=1");
        if (sig == SIGHUP) {
            host_log(HOST_LOG_INFO, "SIGHUP: the configuration is read at the start only");
        } else if (sig > 0) {
            host_log(HOST_LOG_INFO, "signal %d: ending", sig);
            notify_send("STOPPING=1");
            return;
        }
    }
}

static VixError run(struct start *s, const sigset_t *signals, struct err *err)
{
    struct http_face *https = NULL;
    struct nfc_face *nfc = NULL;
    int https_fd = s->https_fd, nfc_fd = s->nfc_fd;

    s->nfc_fd = -1;
    VixError code = nfc_face_start(&s->host, nfc_fd, &nfc, err);
    if (code == VIX_OK) {
        s->https_fd = -1;
        code = http_face_start(&s->host, https_fd, s->cert_pem, s->key_pem, &https, err);
    }
    if (code == VIX_OK) {
        host_log(HOST_LOG_INFO, "vixdiskd: ready, https %u, nfc %u, thumbprint %s", s->host.port, s->host.nfc_port,
                 s->host.thumbprint);
        notify_send("READY=1");
        wait_for_the_end(signals, https);
    }
    http_face_stop(https);
    nfc_face_stop(nfc);
    if (code == VIX_OK) {
        host_log(HOST_LOG_INFO, "vixdiskd: ended");
    }
    return code;
}

static void block_signals(sigset_t *signals)
{
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

VixError serve(const char *config_path, const struct nfc_test_knobs *knobs, const char *test_tickets, struct err *err)
{
    struct start s = {.host = {.knobs = *knobs, .test_tickets = test_tickets}, .https_fd = -1, .nfc_fd = -1};
    sigset_t signals;

    block_signals(&signals);
    confine_process();
    notify_begin();
    VixError code = load(&s, config_path, err);
    if (code == VIX_OK) {
        code = bind_ports(&s, err);
    }
    if (code == VIX_OK) {
        code = confine_user(s.host.config.run_as, err);
    }
    if (code == VIX_OK) {
        code = confine_files(&s.host.config, test_tickets, err);
    }
    if (code == VIX_OK) {
        code = make_tables(&s.host, err);
    }
    if (code == VIX_OK) {
        code = run(&s, &signals, err);
    }
    start_done(&s);
    return code;
}

VixError serve_check(const char *config_path, struct err *err)
{
    struct start s = {.https_fd = -1, .nfc_fd = -1};
    VixError code = load(&s, config_path, err);

    if (code == VIX_OK) {
        code = make_tables(&s.host, err);
    }
    start_done(&s);
    return code;
}
