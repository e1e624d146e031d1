/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: sections [server], [limits], [user NAME], [datastore NAME], lines "key = value", comments with #
 * or ;. A table says what each key may be. One thread, at the start. */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/log.h"
#include "store/store.h"

enum key_kind { KEY_TEXT, KEY_PATH, KEY_NUMBER };

struct key {
    const char *section, *name;
    enum key_kind kind;
    size_t offset; /* in struct host_config */
    uint64_t low, high, fallback;
};

#define TEXT(n, member)                                                                                                \
    {                                                                                                                  \
        "server", n, KEY_TEXT, offsetof(struct host_config, member), 0, 0, 0                                           \
    }
#define PATH(n, member)                                                                                                \
    {                                                                                                                  \
        "server", n, KEY_PATH, offsetof(struct host_config, member), 0, 0, 0                                           \
    }
#define PORT(n, member, fallback)                                                                                      \
    {                                                                                                                  \
        "server", n, KEY_NUMBER, offsetof(struct host_config, member), 0, 65535, fallback                              \
    }
#define LIMIT(n, member, low, high, fallback)                                                                          \
    {                                                                                                                  \
        "limits", n, KEY_NUMBER, offsetof(struct host_config, limits.member), low, high, fallback                      \
    }

static const struct key keys[] = {
    TEXT("listen", listen),
    TEXT("name", name),
    PATH("certificate", certificate),
    PATH("key", key),
    TEXT("user", run_as),
    PORT("port", port, 443),
    PORT("nfc-port", nfc_port, 902),
    LIMIT("connections", connections, 1, 65536, 128),
    LIMIT("connections-per-address", connections_per_address, 1, 65536, 64),
    LIMIT("http-connections", http_connections, 1, 65536, 128),
    LIMIT("sessions", sessions, 1, 65536, 256),
    LIMIT("tickets", tickets, 1, 65536, 1024),
    LIMIT("requests", requests, 1, 4096, 64),
    LIMIT("connection-memory-mib", connection_memory, 8, 4096, 64),
    LIMIT("memory-mib", memory, 8, 1 << 20, 1024),
    LIMIT("request-body-kib", request_body, 4, 65536, 256),
    LIMIT("threads", threads, 0, 256, 0),
    LIMIT("idle-seconds", idle, 0, 7 * 86400, 3600),
    LIMIT("handshake-seconds", handshake, 1, 3600, 60),
    LIMIT("write-seconds", write_wait, 1, 3600, 120),
    LIMIT("session-idle-seconds", session_idle, 1, 7 * 86400, 1800),
    LIMIT("ticket-seconds", ticket_life, 1, 3600, 300),
    LIMIT("lease-seconds", lease_life, 1, 3600, 60),
    LIMIT("login-delay-ms", login_delay, 0, 60000, 1000),
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

struct reading {
    struct host_config *config;
    const char *path;
    char *folder;
    bool seen[KEY_COUNT];
    bool failed;
    struct err *err;
};

bool host_name_is_valid(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > HOST_NAME_MAX_LEN || name[0] == ' ' || name[len - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || strchr("[]/;\\", c) != NULL) {
            return false;
        }
    }
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int fault(struct reading *r, const char *section, const char *name, const char *value, const char *allowed)
{
    if (!r->failed) {
        (void)err_set(r->err, VIX_E_INVALID_ARG, "%s: [%s] %s = \"%.100s\", allowed: %s", r->path, section, name, value,
                      allowed);
    }
    r->failed = true;
    return 0;
}

static bool set_text(struct reading *r, char **text, const char *value, bool is_path)
{
    char *copy =
        is_path && value[0] != '/' ? alloc_printf(r->err, "%s/%s", r->folder, value) : alloc_text(value, r->err);

    if (copy == NULL) {
        r->failed = true;
        return false;
    }
    free(*text);
    *text = copy;
    return true;
}

static int set_key(struct reading *r, size_t index, const char *value)
{
    const struct key *key = &keys[index];
    void *at = (char *)r->config + key->offset;
    char allowed[64];
    uint64_t number;

    if (r->seen[index]) {
        return fault(r, key->section, key->name, value, "once");
    }
    r->seen[index] = true;
    if (key->kind != KEY_NUMBER) {
        if (value[0] == '\0') {
            return fault(r, key->section, key->name, value, "a value");
        }
        return set_text(r, at, value, key->kind == KEY_PATH);
    }
    if (!text_to_u64(value, &number) || number < key->low || number > key->high) {
        (void)snprintf(allowed, sizeof allowed, "a number from %" PRIu64 " to %" PRIu64, key->low, key->high);
        return fault(r, key->section, key->name, value, allowed);
    }
    *(uint64_t *)at = number;
    return 1;
}

static int set_bool(struct reading *r, const char *section, const char *name, const char *value, bool *ret)
{
    if (text_equal_nocase(value, "yes") || text_equal_nocase(value, "true")) {
        *ret = true;
    } else if (text_equal_nocase(value, "no") || text_equal_nocase(value, "false")) {
        *ret = false;
    } else {
        return fault(r, section, name, value, "yes, no");
    }
    return 1;
}

/** Makes room for one more entry in an array of the configuration. */
static void *add_entry(struct reading *r, void **array, size_t count, size_t size)
{
    char *grown = alloc_array(count + 1, size, r->err);

    if (grown == NULL) {
        r->failed = true;
        return NULL;
    }
    if (count > 0) {
        memcpy(grown, *array, count * size);
    }
    free(*array);
    *array = grown;
    return grown + count * size;
}

static struct host_user *user_of(struct reading *r, const char *name)
{
    struct host_config *c = r->config;

    for (size_t i = 0; i < c->user_count; i++) {
        if (strcmp(c->users[i].name, name) == 0) {
            return &c->users[i];
        }
    }
    if (c->user_count == HOST_USERS_MAX) {
        (void)fault(r, "user", "name", name, "at most 1024 users");
        return NULL;
    }
    struct host_user *u = add_entry(r, (void **)&c->users, c->user_count, sizeof *u);
    if (u != NULL && set_text(r, &u->name, name, false)) {
        c->user_count++;
        return u;
    }
    return NULL;
}

static struct host_datastore *datastore_of(struct reading *r, const char *name)
{
    struct host_config *c = r->config;

    for (size_t i = 0; i < c->datastore_count; i++) {
        if (strcmp(c->datastores[i].name, name) == 0) {
            return &c->datastores[i];
        }
    }
    if (c->datastore_count == HOST_DATASTORES_MAX) {
        (void)fault(r, "datastore", "name", name, "at most 64 datastores");
        return NULL;
    }
    struct host_datastore *d = add_entry(r, (void **)&c->datastores, c->datastore_count, sizeof *d);
    if (d != NULL && set_text(r, &d->name, name, false)) {
        c->datastore_count++;
        return d;
    }
    return NULL;
}

static int set_user(struct reading *r, const char *user, const char *name, const char *value)
{
    struct host_user *u = user_of(r, user);

    if (u == NULL) {
        return 0;
    }
    if (strcmp(name, "password-hash") == 0) {
        return set_text(r, &u->hash, value, false);
    }
    if (strcmp(name, "read-only") == 0) {
        return set_bool(r, "user", name, value, &u->read_only);
    }
    return fault(r, "user", name, value, "password-hash, read-only");
}

/** "naa.6000... file" */
static int add_lun(struct reading *r, struct host_datastore *d, const char *value)
{
    size_t len = strcspn(value, " \t");
    const char *file = value + len + strspn(value + len, " \t");
    CLEANUP_FREE char *name = alloc_text_n(value, len, r->err);

    if (len == 0 || file[0] == '\0' || d->lun_count == HOST_LUNS_MAX) {
        return fault(r, "datastore", "lun", value, "a name and a file, of at most 32 LUNs");
    }
    struct host_lun *lun = &d->luns[d->lun_count];
    if (name == NULL || !set_text(r, &lun->path, file, true)) {
        r->failed = true;
        return 0;
    }
    lun->name = TAKE_PTR(name);
    d->lun_count++;
    return 1;
}

static int set_datastore(struct reading *r, const char *datastore, const char *name, const char *value)
{
    struct host_datastore *d = datastore_of(r, datastore);

    if (d == NULL) {
        return 0;
    }
    if (strcmp(name, "path") == 0) {
        return value[0] != '\0' ? set_text(r, &d->path, value, true) : fault(r, "datastore", name, value, "a folder");
    }
    if (strcmp(name, "writable") == 0) {
        return set_bool(r, "datastore", name, value, &d->writable);
    }
    if (strcmp(name, "lun") == 0) {
        return add_lun(r, d, value);
    }
    return fault(r, "datastore", name, value, "path, lun, writable");
}

/** The name behind "user " or "datastore "; NULL: another section. */
static const char *name_in_section(const char *section, const char *kind)
{
    size_t len = strlen(kind);

    if (strncmp(section, kind, len) != 0 || section[len] != ' ') {
        return NULL;
    }
    const char *name = section + len;
    while (*name == ' ') {
        name++;
    }
    return name;
}

static int take_line(void *ctx, const char *section, const char *name, const char *value)
{
    struct reading *r = ctx;
    const char *user = name_in_section(section, "user");
    const char *datastore = name_in_section(section, "datastore");

    if (r->failed) {
        return 0;
    }
    if (user != NULL || datastore != NULL) {
        if (!host_name_is_valid(user != NULL ? user : datastore)) {
            return fault(r, section, name, value, "names of 1 to 38 bytes without / \\ [ ] ; and control characters");
        }
        return user != NULL ? set_user(r, user, name, value) : set_datastore(r, datastore, name, value);
    }
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(section, keys[i].section) == 0 && strcmp(name, keys[i].name) == 0) {
            return set_key(r, i, value);
        }
    }
    return fault(r, section, name, value, "the sections and keys of vixdiskd's documentation");
}

static VixError check_lines(const char *path, const char *text, struct err *err)
{
    unsigned number = 1;

    for (const char *line = text; *line != '\0'; number++) {
        size_t len = strcspn(line, "\n");
        if (len > HOST_CONFIG_LINE_MAX) {
            return err_set(err, VIX_E_INVALID_ARG, "%s: line %u has %zu bytes, allowed: %u", path, number, len,
                           HOST_CONFIG_LINE_MAX);
        }
        line += len + (line[len] == '\n');
    }
    return VIX_OK;
}

static VixError read_all(const char *path, char **ret_text, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    size_t len = 0;

    if (fd < 0 || fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot open the configuration", path);
    }
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)HOST_CONFIG_FILE_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: is not a file of at most %u bytes", path, HOST_CONFIG_FILE_MAX);
    }
    if ((st.st_mode & 0007) != 0) {
        host_log(HOST_LOG_WARN, "%s: holds password hashes and can be read or written by everybody (mode %03o)", path,
                 st.st_mode & 0777);
    }
    CLEANUP_FREE char *text = alloc_zero((size_t)st.st_size + 1, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (len < (size_t)st.st_size) {
        ssize_t n = read(fd, text + len, (size_t)st.st_size - len);
        if (n < 0 && errno != EINTR) {
            return err_set_errno(err, errno, "%s: cannot read", path);
        }
        if (n == 0) {
            break;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    if (strlen(text) != len) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: byte %zu is zero: not a text", path, strlen(text));
    }
    *ret_text = TAKE_PTR(text);
    return VIX_OK;
}

static VixError check_complete(const struct host_config *c, const char *path, struct err *err)
{
    if (c->certificate == NULL || c->key == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: [server] needs certificate and key", path);
    }
    if (c->datastore_count == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: no [datastore NAME] with a path", path);
    }
    for (size_t i = 0; i < c->datastore_count; i++) {
        if ((c->datastores[i].path == NULL) == (c->datastores[i].lun_count == 0)) {
            return err_set(err, VIX_E_INVALID_ARG, "%s: [datastore %s] has no path and no LUNs, or both", path,
                           c->datastores[i].name);
        }
    }
    for (size_t i = 0; i < c->user_count; i++) {
        if (c->users[i].hash == NULL) {
            return err_set(err, VIX_E_INVALID_ARG, "%s: [user %s] has no password-hash", path, c->users[i].name);
        }
    }
    return VIX_OK;
}

static VixError parse(struct reading *r, const char *text)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (keys[i].kind == KEY_NUMBER) {
            *(uint64_t *)((char *)r->config + keys[i].offset) = keys[i].fallback;
        }
    }
    int line = ini_parse_string(text, take_line, r);
    if (r->failed) {
        err_prefix(r->err, "line %d: ", line);
        return r->err != NULL ? r->err->code : VIX_E_INVALID_ARG;
    }
    if (line != 0) {
        return err_set(r->err, VIX_E_INVALID_ARG, "%s: line %d is neither [section] nor key = value", r->path, line);
    }
    if (r->config->listen == NULL && !set_text(r, &r->config->listen, "*", false)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return check_complete(r->config, r->path, r->err);
}

VixError host_config_load(const char *path, struct host_config *ret_config, struct err *err)
{
    struct host_config config = {0};
    struct err own;
    char *bytes = NULL;

    err_init(&own);
    VixError code = read_all(path, &bytes, &own);
    CLEANUP_FREE char *text = bytes;
    if (code == VIX_OK) {
        code = check_lines(path, text, &own);
    }
    if (code == VIX_OK) {
        CLEANUP_FREE char *folder = store_path_folder(path, &own);
        struct reading r = {.config = &config, .path = path, .folder = folder, .err = &own};
        code = folder != NULL ? parse(&r, text) : VIX_E_OUT_OF_MEMORY;
    }
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    if (code != VIX_OK) {
        host_config_done(&config);
        if (err != NULL) {
            *err = own;
        }
        return code;
    }
    *ret_config = config;
    return VIX_OK;
}

void host_config_done(struct host_config *config)
{
    for (size_t i = 0; i < config->user_count; i++) {
        if (config->users[i].hash != NULL) {
            explicit_bzero(config->users[i].hash, strlen(config->users[i].hash));
        }
        free(config->users[i].hash);
        free(config->users[i].name);
    }
    for (size_t i = 0; i < config->datastore_count; i++) {
        free(config->datastores[i].path);
        for (size_t k = 0; k < config->datastores[i].lun_count; k++) {
            free(config->datastores[i].luns[k].name);
            free(config->datastores[i].luns[k].path);
        }
        free(config->datastores[i].name);
    }
    free(config->users);
    free(config->datastores);
    free(config->listen);
    free(config->name);
    free(config->certificate);
    free(config->key);
    free(config->run_as);
    *config = (struct host_config){0};
}
