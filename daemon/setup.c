/* SPDX-License-Identifier: BSD-3-Clause */
/* --init, --add-user, --hash-password. Passwords come from standard input, never from the command line, where every
 * user of the machine could read them; the one that is made up goes to a file that only its owner reads. */
#include "daemon/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/config.h"
#include "daemon/confine.h"
#include "daemon/users.h"
#include "net/tls.h"
#include "store/store.h"
#include "vmdk/create.h"

#define USER "vixdisk"
#define DATASTORE "datastore1"
#define MACHINE "vm1"
#define DISK_SECTORS (UINT64_C(2) << 20) /* 1 GiB, thin */

/** What was made, to be taken away again. */
struct made {
    char *paths[8];
    size_t count;
};

static void unmake(struct made *made, bool remove_them)
{
    while (made->count > 0) {
        char *path = made->paths[--made->count];
        if (remove_them) {
            (void)remove(path);
        }
        free(path);
    }
}

/** The path of a new thing in the folder, which is remembered before it is made; NULL: out of memory. */
static const char *place(struct made *made, const char *folder, const char *name, struct err *err)
{
    char *path = alloc_printf(err, "%s/%s", folder, name);

    if (path != NULL) {
        made->paths[made->count++] = path;
    }
    return path;
}

/** What could not be made was not ours. */
static VixError not_made(struct made *made, VixError code)
{
    free(made->paths[--made->count]);
    return code;
}

static VixError write_all(int fd, const char *path, const char *text, struct err *err)
{
    size_t len = strlen(text);

    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno != EINTR) {
            return err_set_errno(err, errno, "%s: cannot write", path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot write", path);
}

static VixError put_secret_file(struct made *made, const char *folder, const char *name, const char *text,
                                struct err *err)
{
    const char *path = place(made, folder, name, err);
    CLEANUP_CLOSE int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (fd < 0) {
        int e = errno; /* not_made frees the path */
        VixError code = err_set_errno(err, e, "%s: cannot make the file", path);
        return not_made(made, code);
    }
    return write_all(fd, path, text, err);
}

static VixError make_folder(struct made *made, const char *folder, const char *name, struct err *err)
{
    const char *path = place(made, folder, name, err);

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (mkdir(path, 0700) != 0) {
        int e = errno;
        VixError code = err_set_errno(err, e, "%s: cannot make the folder", path);
        return not_made(made, code);
    }
    return VIX_OK;
}

/* ---- the parts of a set-up ---- */

static VixError make_identity(const struct setup_params *p, struct made *made, struct err *err)
{
    const char *names[] = {p->name != NULL ? p->name : "localhost", "localhost", "127.0.0.1", "::1"};
    CLEANUP_FREE char *cert = alloc_printf(err, "%s/certificate.pem", p->folder);
    CLEANUP_FREE char *key = alloc_printf(err, "%s/key.pem", p->folder);

    if (cert == NULL || key == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = tls_identity_create(p->name != NULL ? names : names + 1, p->name != NULL ? 4 : 3, cert, key, err);
    if (code == VIX_OK &&
        (place(made, p->folder, "certificate.pem", err) == NULL || place(made, p->folder, "key.pem", err) == NULL)) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

static VixError make_machine(const char *folder, struct made *made, struct err *err)
{
    struct create_params params = {.type = VIXDISKLIB_DISK_VMFS_THIN,
                                   .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                                   .capacity = DISK_SECTORS,
                                   .file_mode = 0600};
    VixError code = make_folder(made, folder, DATASTORE, err);

    if (code == VIX_OK) {
        code = make_folder(made, folder, DATASTORE "/" MACHINE, err);
    }
    CLEANUP_FREE char *disk = alloc_printf(err, "%s/" DATASTORE "/" MACHINE "/" MACHINE ".vmdk", folder);
    if (code == VIX_OK && disk == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK) {
        code = vmdk_create(store_fs_local(), disk, &params, NULL, NULL, err);
    }
    if (code == VIX_OK && (place(made, folder, DATASTORE "/" MACHINE "/" MACHINE "-flat.vmdk", err) == NULL ||
                           place(made, folder, DATASTORE "/" MACHINE "/" MACHINE ".vmdk", err) == NULL)) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

static void choose_ports(const struct setup_params *p, int *ret_port, int *ret_nfc_port)
{
    bool root = geteuid() == 0;

    *ret_port = p->port >= 0 ? p->port : root ? 443 : 8443;
    *ret_nfc_port = p->nfc_port >= 0 ? p->nfc_port : root ? 902 : 8902;
}

/** Whom the host becomes when root starts it: a user who exists. */
static const char *choose_user(const struct setup_params *p)
{
    return p->user != NULL ? p->user : getpwnam(CONFINE_USER) != NULL ? CONFINE_USER : "root";
}

static VixError make_config(const struct setup_params *p, struct made *made, const char *hash, struct err *err)
{
    int port, nfc_port;

    choose_ports(p, &port, &nfc_port);
    CLEANUP_FREE char *text =
        alloc_printf(err,
                     "# Made by vixdiskd --init. Every key: see vixdiskd's documentation.\n"
                     "[server]\n%s%s%slisten = %s\nuser = %s\nport = %d\nnfc-port = %d\ncertificate = "
                     "certificate.pem\nkey = key.pem\n\n"
                     "[user " USER "]\npassword-hash = %s\n\n"
                     "# A datastore is only read unless it is writable.\n"
                     "[datastore " DATASTORE "]\npath = " DATASTORE "\nwritable = yes\n",
                     p->name != NULL ? "name = " : "", p->name != NULL ? p->name : "", p->name != NULL ? "\n" : "",
                     p->listen != NULL ? p->listen : "*", choose_user(p), port, nfc_port, hash);

    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = put_secret_file(made, p->folder, "vixdiskd.conf", text, err);
    explicit_bzero(text, strlen(text));
    return code;
}

/** Whether what was made can be read again: a name that was given may be none. */
static VixError check_config(const char *folder, struct err *err)
{
    struct host_config config;
    CLEANUP_FREE char *path = alloc_printf(err, "%s/vixdiskd.conf", folder);
    VixError code = path != NULL ? host_config_load(path, &config, err) : VIX_E_OUT_OF_MEMORY;

    if (code == VIX_OK) {
        host_config_done(&config);
    }
    return code;
}

static VixError make_user(const struct setup_params *p, struct made *made, struct err *err)
{
    CLEANUP_FREE char *hash = NULL;
    char *password = NULL;
    VixError code = users_random_password(&password, err);

    if (code == VIX_OK) {
        code = users_hash(password, &hash, err);
    }
    if (code == VIX_OK) {
        code = make_config(p, made, hash, err);
    }
    if (code == VIX_OK) {
        CLEANUP_FREE char *line = alloc_printf(err, "%s\n", password);
        code = line != NULL ? put_secret_file(made, p->folder, "password", line, err) : VIX_E_OUT_OF_MEMORY;
        if (line != NULL) {
            explicit_bzero(line, strlen(line));
        }
    }
    if (password != NULL) {
        explicit_bzero(password, strlen(password));
        free(password);
    }
    return code;
}

/** What root has made, and the folder if that is ours too, belongs to the user who is to serve it. */
static VixError give_away(const struct setup_params *p, const struct made *made, bool own_folder, struct err *err)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam(choose_user(p)) : NULL;

    if (pw == NULL) {
        return VIX_OK;
    }
    for (size_t i = 0; i < made->count; i++) {
        if (lchown(made->paths[i], pw->pw_uid, pw->pw_gid) != 0) {
            return err_set_errno(err, errno, "%s: cannot be given to user %s", made->paths[i], pw->pw_name);
        }
    }
    if (own_folder && lchown(p->folder, pw->pw_uid, pw->pw_gid) != 0) {
        return err_set_errno(err, errno, "%s: cannot be given to user %s", p->folder, pw->pw_name);
    }
    return VIX_OK;
}

static VixError say_how_to(const struct setup_params *p, struct err *err)
{
    int port, nfc_port;
    struct tls_identity *identity = NULL;
    struct thumbprint print;
    char text[THUMBPRINT_TEXT_MAX];
    char resolved[4096];
    CLEANUP_FREE char *cert = alloc_printf(err, "%s/certificate.pem", p->folder);
    CLEANUP_FREE char *key = alloc_printf(err, "%s/key.pem", p->folder);
    VixError code = cert != NULL && key != NULL ? tls_identity_load(cert, key, &identity, err) : VIX_E_OUT_OF_MEMORY;

    if (code != VIX_OK) {
        return code;
    }
    tls_identity_thumbprint(identity, &print);
    thumbprint_format(print.sha1, THUMBPRINT_SHA1_LEN, text);
    tls_identity_free(identity);
    choose_ports(p, &port, &nfc_port);
    const char *folder = strlen(p->folder) < sizeof resolved ? realpath(p->folder, resolved) : NULL;
    folder = folder != NULL ? folder : p->folder;
    (void)printf("Thumbprint: %s\n\nStart the host:\n  vixdiskd --config '%s/vixdiskd.conf'\n\n"
                 "Look at the disk of the machine " MACHINE ":\n"
                 "  vixdisk info --host %s --port %d --nfc-port %d --user " USER " --password-file '%s/password' "
                 "--thumbprint %s --vm '[" DATASTORE "] " MACHINE "/" MACHINE ".vmx' --transport nbdssl "
                 "'[" DATASTORE "] " MACHINE "/" MACHINE ".vmdk'\n",
                 text, folder, p->name != NULL ? p->name : "localhost", port, nfc_port, folder, text);
    if (geteuid() == 0) {
        (void)printf("\nOr as a service:\n  mkdir -p /etc/systemd/system/vixdiskd.service.d\n"
                     "  vixdiskd --drop-in --config '%s/vixdiskd.conf' "
                     ">/etc/systemd/system/vixdiskd.service.d/datastores.conf\n"
                     "  systemctl daemon-reload\n  systemctl enable --now vixdiskd\n",
                     folder);
    }
    return fflush(stdout) == 0 ? VIX_OK : err_set_errno(err, errno, "cannot write to standard output");
}

static VixError check_params(const struct setup_params *p, struct err *err)
{
    if (strpbrk(p->folder, "'\n") != NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "the folder's name has a quote or a line end in it");
    }
    if (p->name != NULL && (p->name[0] == '\0' || strpbrk(p->name, " \t\n'\"#;=") != NULL)) {
        return err_set(err, VIX_E_INVALID_ARG, "--name \"%.60s\" is no host name or address", p->name);
    }
    if (p->listen != NULL && (p->listen[0] == '\0' || strpbrk(p->listen, " \t\n#;=") != NULL)) {
        return err_set(err, VIX_E_INVALID_ARG, "--listen \"%.60s\" is no address", p->listen);
    }
    if (getpwnam(choose_user(p)) == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "--user %.60s: there is no such user on this machine", p->user);
    }
    return VIX_OK;
}

VixError setup_init(const struct setup_params *p, struct err *err)
{
    struct made made = {.count = 0};
    VixError code = check_params(p, err);

    if (code != VIX_OK) {
        return code;
    }
    bool own_folder = mkdir(p->folder, 0700) == 0;
    if (!own_folder && errno != EEXIST) {
        return err_set_errno(err, errno, "%s: cannot make the folder", p->folder);
    }
    code = make_machine(p->folder, &made, err);
    if (code == VIX_OK) {
        code = make_identity(p, &made, err);
    }
    if (code == VIX_OK) {
        code = make_user(p, &made, err);
    }
    if (code == VIX_OK) {
        code = check_config(p->folder, err);
    }
    if (code == VIX_OK) {
        code = give_away(p, &made, own_folder, err);
    }
    if (code == VIX_OK) {
        code = say_how_to(p, err);
    }
    unmake(&made, code != VIX_OK);
    return code;
}

/* ---- users ---- */

/** A terminal shows nothing of what is typed while it is off. */
static void set_echo(bool on)
{
    struct termios how;

    if (tcgetattr(STDIN_FILENO, &how) == 0) {
        how.c_lflag = on ? how.c_lflag | ECHO : how.c_lflag & ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &how);
    }
}

/** The first line of standard input, to be wiped by the caller. */
static VixError read_password(char password[PASSWORD_MAX + 2], struct err *err)
{
    bool terminal = isatty(STDIN_FILENO);

    if (terminal) {
        (void)fputs("Password: ", stderr);
        set_echo(false);
    }
    const char *line = fgets(password, PASSWORD_MAX + 2, stdin);
    if (terminal) {
        set_echo(true);
        (void)fputs("\n", stderr);
    }
    if (line == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "there is no password on standard input");
    }
    size_t len = strcspn(password, "\r\n");
    if (len == 0 || len > PASSWORD_MAX || (password[len] == '\0' && !feof(stdin))) {
        explicit_bzero(password, PASSWORD_MAX + 2);
        return err_set(err, VIX_E_INVALID_ARG, "the password is empty or longer than %u bytes", PASSWORD_MAX);
    }
    password[len] = '\0';
    return VIX_OK;
}

static VixError read_hash(char **ret_hash, struct err *err)
{
    char password[PASSWORD_MAX + 2];
    VixError code = read_password(password, err);

    if (code == VIX_OK) {
        code = users_hash(password, ret_hash, err);
        explicit_bzero(password, sizeof password);
    }
    return code;
}

VixError setup_hash_password(struct err *err)
{
    char *hash = NULL;
    VixError code = read_hash(&hash, err);

    if (code == VIX_OK) {
        (void)printf("%s\n", hash);
    }
    free(hash);
    return code;
}

static VixError append(const char *path, const char *text, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    return fd >= 0 ? write_all(fd, path, text, err)
                   : err_set_errno(err, errno, "%s: cannot open the configuration for writing", path);
}

static VixError check_new_user(const char *config_path, const char *user, struct err *err)
{
    struct host_config config;
    VixError code = host_config_load(config_path, &config, err);

    if (code != VIX_OK) {
        return code;
    }
    if (!host_name_is_valid(user)) {
        code = err_set(err, VIX_E_INVALID_ARG,
                       "user \"%.60s\", allowed: 1 to %u bytes without / \\ [ ] ; and control characters", user,
                       HOST_NAME_MAX_LEN);
    }
    for (size_t i = 0; code == VIX_OK && i < config.user_count; i++) {
        if (strcmp(config.users[i].name, user) == 0) {
            code = err_set(err, VIX_E_FILE_ALREADY_EXISTS, "%s: there is a user %s already", config_path, user);
        }
    }
    host_config_done(&config);
    return code;
}

VixError setup_add_user(const char *config_path, const char *user, bool read_only, struct err *err)
{
    CLEANUP_FREE char *hash = NULL;
    VixError code = check_new_user(config_path, user, err);

    if (code == VIX_OK) {
        code = read_hash(&hash, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    CLEANUP_FREE char *text =
        alloc_printf(err, "\n[user %s]\npassword-hash = %s\n%s", user, hash, read_only ? "read-only = yes\n" : "");
    return text != NULL ? append(config_path, text, err) : VIX_E_OUT_OF_MEMORY;
}
