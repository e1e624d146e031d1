/* SPDX-License-Identifier: BSD-3-Clause */
/* server.c - the connection to a server: whose name, user and machine come from options, from VIXDISK_ variables, or
 * from those of govc; the password from a file, a descriptor, a variable or the terminal, and it is wiped after use. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

#define SECRET_MAX 4096
#define NAME_MAX_BYTES 512

/** What is known of a server when it is connected to. */
struct target {
    char host[NAME_MAX_BYTES];
    char user[NAME_MAX_BYTES];
    char secret[SECRET_MAX]; /* password or cookie */
    bool is_cookie;
    bool insecure;
    bool from_govc; /* the host is govc's, so its other variables count */
    uint32_t port;
    uint32_t nfc_port;
};

/** A variable that is set and not empty, else NULL. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *option_or(const char *option, const char *name)
{
    return option != NULL ? option : variable(name);
}

bool server_is_named(const struct cli *cli)
{
    return option_or(cli->common.remote.host, "VIXDISK_HOST") != NULL || variable("GOVC_URL") != NULL;
}

const char *server_snapshot(const struct cli *cli)
{
    return option_or(cli->common.remote.snapshot, "VIXDISK_SNAPSHOT");
}

bool is_remote_path(const struct cli *cli, const char *path)
{
    const char *end = path[0] == '[' ? strchr(path, ']') : NULL;
    return (cli->command->groups & GROUP_REMOTE) != 0 && end != NULL && end > path + 1 && server_is_named(cli);
}

/* ---- names and numbers ---- */

/** NAME, NAME:PORT, [ADDRESS] or [ADDRESS]:PORT; an address of IPv6 may stand without brackets if no port follows. The
 * port stays as it is if there is none. */
static bool split_host(const char *text, size_t len, char *host, uint32_t *port)
{
    const char *colon = memrchr(text, ':', len);
    bool brackets = len > 0 && text[0] == '[';
    const char *close = brackets ? memchr(text, ']', len) : NULL;
    size_t name_len = len;

    if (brackets) {
        if (close == NULL || (close + 1 < text + len && close[1] != ':')) {
            return false;
        }
        colon = close + 1 < text + len ? close + 1 : NULL;
        name_len = (size_t)(close - text) - 1;
        text++;
        len--;
    } else if (colon != NULL && memchr(text, ':', (size_t)(colon - text)) == NULL) {
        name_len = (size_t)(colon - text);
    } else {
        colon = NULL;
    }
    if (name_len == 0 || name_len >= NAME_MAX_BYTES) {
        return false;
    }
    memcpy(host, text, name_len);
    host[name_len] = '\0';
    if (colon == NULL) {
        return true;
    }
    char digits[8];
    size_t n = (size_t)(text + len - colon) - 1;
    if (n == 0 || n >= sizeof digits) {
        return false;
    }
    memcpy(digits, colon + 1, n);
    digits[n] = '\0';
    return parse_number(digits, 1, 65535, port);
}

bool parse_host_port(const char *text, char *host, size_t size, uint32_t *port)
{
    char name[NAME_MAX_BYTES];
    if (!split_host(text, strlen(text), name, port) || strlen(name) >= size) {
        return false;
    }
    memcpy(host, name, strlen(name) + 1);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/** Copies a part of a URL, %XX undone. */
static bool decode(const char *text, size_t len, char *to, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            c = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        }
        if (c == '\0' || n + 1 >= size) {
            return false;
        }
        to[n++] = c;
    }
    to[n] = '\0';
    return true;
}

/** "https://user:password@host:port/sdk", or less of it. */
static bool parse_url(const char *url, struct target *t)
{
    const char *scheme_end = strstr(url, "://");
    if (scheme_end != NULL && (scheme_end - url != 5 || strncasecmp(url, "https", 5) != 0)) {
        return false;
    }
    const char *start = scheme_end != NULL ? scheme_end + 3 : url;
    size_t len = strcspn(start, "/");
    const char *at = memrchr(start, '@', len);
    if (at != NULL) {
        size_t user_len = (size_t)(at - start);
        const char *colon = memchr(start, ':', user_len);
        size_t name_len = colon != NULL ? (size_t)(colon - start) : user_len;
        if (!decode(start, name_len, t->user, sizeof t->user) ||
            (colon != NULL && !decode(colon + 1, user_len - name_len - 1, t->secret, sizeof t->secret))) {
            return false;
        }
        len -= user_len + 1;
        start = at + 1;
    }
    return split_host(start, len, t->host, &t->port);
}

/** A port from an option or a variable. -1 to go on, else a status. */
static int take_port(const struct cli *cli, const struct number_arg *option, const char *name, uint32_t *port)
{
    const char *value = variable(name);
    if (option->given) {
        *port = option->value;
    } else if (value != NULL && !parse_number(value, 1, 65535, port)) {
        return usage_error(cli, "%s: \"%s\" is not a number from 1 to 65535", name, value);
    }
    return -1;
}

static int take_host(const struct cli *cli, struct target *t)
{
    const struct remote_args *args = &cli->common.remote;
    const char *host = option_or(args->host, "VIXDISK_HOST");
    const char *url = variable("GOVC_URL");
    t->from_govc = host == NULL;
    if (host != NULL && !split_host(host, strlen(host), t->host, &t->port)) {
        return usage_error(cli, "--host: \"%s\" is not NAME or NAME:PORT", host);
    }
    if (host == NULL && url == NULL) {
        return usage_error(cli, "the server is missing: --host NAME");
    }
    if (host == NULL && !parse_url(url, t)) {
        return usage_error(cli, "GOVC_URL is not https://HOST or HOST");
    }
    int status = take_port(cli, &args->port, "VIXDISK_PORT", &t->port);
    return status >= 0 ? status : take_port(cli, &args->nfc_port, "VIXDISK_NFC_PORT", &t->nfc_port);
}

int server_address(const struct cli *cli, char *host, size_t size, uint32_t *port)
{
    struct target t = {.port = 0};
    int status = take_host(cli, &t);
    if (status < 0) {
        snprintf(host, size, "%s", t.host);
        *port = t.port != 0 ? t.port : 443;
    }
    explicit_bzero(&t, sizeof t);
    return status;
}

const char *server_thumbprint(const struct cli *cli)
{
    return option_or(cli->common.remote.thumbprint, "VIXDISK_THUMBPRINT");
}

/* ---- secrets ---- */

/** The first line of a descriptor. */
static int read_line(struct cli *cli, const char *what, int fd, char *secret)
{
    size_t len = 0;
    ssize_t n = 1;
    while (n > 0 && len < SECRET_MAX - 1 && memchr(secret, '\n', len) == NULL) {
        n = read(fd, secret + len, SECRET_MAX - 1 - len);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    if (n < 0) {
        return fail_errno(cli, what, errno, "cannot be read");
    }
    secret[len] = '\0';
    secret[strcspn(secret, "\r\n")] = '\0';
    if (len == SECRET_MAX - 1 && strlen(secret) == len) {
        return fail_with(cli, what, VIX_E_ARGUMENT_TOO_BIG, "its first line has more than %d bytes", SECRET_MAX - 2);
    }
    return -1;
}

static int read_secret_file(struct cli *cli, const char *path, char *secret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(cli, path, errno, "cannot be opened");
    }
    int status = read_line(cli, path, fd, secret);
    close(fd);
    return status;
}

/** Asks on the terminal, without showing what is typed. */
static int prompt(struct cli *cli, struct target *t)
{
    struct termios old;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &old) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return usage_error(cli, "the password is missing: --password-file FILE or --password-fd N");
    }
    struct termios quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    dprintf(fd, "Password of %s on %s: ", t->user, t->host);
    tcsetattr(fd, TCSAFLUSH, &quiet);
    int status = read_line(cli, "/dev/tty", fd, t->secret);
    tcsetattr(fd, TCSAFLUSH, &old);
    dprintf(fd, "\n");
    close(fd);
    return status;
}

static int copy_secret(const struct cli *cli, const char *name, const char *value, char *secret)
{
    if (strlen(value) >= SECRET_MAX) {
        return usage_error(cli, "%s has more than %d bytes", name, SECRET_MAX - 1);
    }
    memcpy(secret, value, strlen(value) + 1);
    return -1;
}

static int take_password(struct cli *cli, struct target *t)
{
    const struct remote_args *args = &cli->common.remote;
    const char *file = args->password_file;
    if (args->password_fd.given) {
        return read_line(cli, "--password-fd", (int)args->password_fd.value, t->secret);
    }
    if (file == NULL && variable("VIXDISK_PASSWORD") != NULL) {
        return copy_secret(cli, "VIXDISK_PASSWORD", variable("VIXDISK_PASSWORD"), t->secret);
    }
    file = option_or(file, "VIXDISK_PASSWORD_FILE");
    if (file != NULL) {
        return read_secret_file(cli, file, t->secret);
    }
    if (t->from_govc && variable("GOVC_PASSWORD") != NULL) {
        return copy_secret(cli, "GOVC_PASSWORD", variable("GOVC_PASSWORD"), t->secret);
    }
    return t->secret[0] != '\0' ? -1 : prompt(cli, t);
}

static int take_user(struct cli *cli, struct target *t)
{
    const struct remote_args *args = &cli->common.remote;
    const char *cookie = option_or(args->cookie_file, "VIXDISK_COOKIE_FILE");
    const char *user = option_or(args->user, "VIXDISK_USER");
    if (cookie != NULL) {
        t->is_cookie = true;
        return read_secret_file(cli, cookie, t->secret);
    }
    if (user == NULL && t->from_govc) {
        user = variable("GOVC_USERNAME");
    }
    if (user != NULL && strlen(user) >= sizeof t->user) {
        return usage_error(cli, "--user has more than %zu bytes", sizeof t->user - 1);
    }
    if (user != NULL && strcmp(user, t->user) != 0) {
        memcpy(t->user, user, strlen(user) + 1);
        t->secret[0] = '\0'; /* of the URL's user */
    }
    if (t->user[0] == '\0') {
        return usage_error(cli, "the user is missing: --user NAME");
    }
    return take_password(cli, t);
}

/* ---- connecting ---- */

/** GOVC_INSECURE. */
static bool is_true(const char *value)
{
    return value != NULL && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0);
}

static VixError connect_to(struct cli *cli, const struct target *t)
{
    const struct remote_args *args = &cli->common.remote;
    VixDiskLibConnectParams *params = VixDiskLib_AllocateConnectParams();
    VixError code = VIX_OK;
    if (params == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    params->serverName = (char *)t->host;
    params->port = t->port;
    params->nfcHostPort = t->nfc_port;
    params->thumbPrint = (char *)option_or(args->thumbprint, "VIXDISK_THUMBPRINT");
    params->vmxSpec = (char *)option_or(args->vm, "VIXDISK_VM");
    params->specType = VIXDISKLIB_SPEC_VMX;
    params->credType = t->is_cookie ? VIXDISKLIB_CRED_SESSIONID : VIXDISKLIB_CRED_UID;
    if (t->is_cookie) {
        params->creds.sessionId.cookie = (char *)t->secret;
    } else {
        params->creds.uid.userName = (char *)t->user;
        params->creds.uid.password = (char *)t->secret;
    }
    if (t->from_govc && params->thumbPrint == NULL && is_true(variable("GOVC_INSECURE"))) {
        code = VixDiskLibExt_SetOption("vixDiskLib.linuxSSL.verifyCertificates", "0");
    }
    if (code == VIX_OK) {
        code = VixDiskLib_ConnectEx(params, FALSE, server_snapshot(cli),
                                    option_or(args->transport, "VIXDISK_TRANSPORT"), &cli->server);
    }
    VixDiskLib_FreeConnectParams(params);
    return code;
}

int cli_connect_server(struct cli *cli)
{
    struct target t = {.port = 0};
    if (cli->server != NULL) {
        return STATUS_DONE;
    }
    int status = take_host(cli, &t);
    if (status < 0) {
        status = take_user(cli, &t);
    }
    if (status < 0) {
        status = cli_start(cli);
    }
    if (status == STATUS_DONE) {
        VixError code = connect_to(cli, &t);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, NULL, code);
    }
    explicit_bzero(&t, sizeof t);
    return status;
}

VixError cli_connect_snapshot(struct cli *cli, const char *snapshot)
{
    VixDiskLibConnectParams *params = NULL;
    VixError code = VixDiskLib_GetConnectParams(cli->server, &params);
    if (code == VIX_OK) {
        code = VixDiskLib_ConnectEx(params, TRUE, snapshot,
                                    option_or(cli->common.remote.transport, "VIXDISK_TRANSPORT"), &cli->as_of);
    }
    VixDiskLib_FreeConnectParams(params);
    return code;
}

void cli_leave_snapshot(struct cli *cli)
{
    if (cli->as_of != NULL) {
        (void)VixDiskLib_Disconnect(cli->as_of);
        cli->as_of = NULL;
    }
}

void cli_traffic(const struct cli *cli, uint64_t *ret_in, uint64_t *ret_out)
{
    const VixDiskLibConnection connections[] = {cli->server, cli->as_of};
    *ret_in = *ret_out = 0;
    for (size_t i = 0; i < sizeof connections / sizeof connections[0]; i++) {
        uint64 in = 0;
        uint64 out = 0;
        if (connections[i] != NULL && VixDiskLibExt_GetConnectionTraffic(connections[i], &in, &out) == VIX_OK) {
            *ret_in += in;
            *ret_out += out;
        }
    }
}

int cli_connect_for(struct cli *cli, const char *path, VixDiskLibConnection *ret_connection)
{
    bool remote = is_remote_path(cli, path);
    int status = remote ? cli_connect_server(cli) : cli_connect(cli);
    if (status == STATUS_DONE) {
        *ret_connection = remote ? cli->server : cli->connection;
    }
    return status;
}

int need_machine(const struct cli *cli)
{
    if (option_or(cli->common.remote.vm, "VIXDISK_VM") != NULL) {
        return -1;
    }
    return usage_error(cli,
                       "the virtual machine that has the disk is missing: --vm moref=... ('vixdisk ls' lists them)");
}

int compression_flags(const struct cli *cli, uint32 *ret_flags)
{
    static const struct {
        const char *name;
        uint32 flag;
    } kinds[] = {
        {"none", 0},
        {"zlib", VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB},
        {"fastlz", VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ},
        {"skipz", VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ},
    };
    const char *wanted = option_or(cli->common.remote.compress, "VIXDISK_COMPRESS");
    *ret_flags = 0;
    if (wanted == NULL) {
        return -1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcasecmp(kinds[i].name, wanted) == 0) {
            *ret_flags = kinds[i].flag;
            return -1;
        }
    }
    return usage_error(cli, "--compress: \"%s\" is none of none, zlib, fastlz, skipz", wanted);
}
