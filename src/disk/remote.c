/* SPDX-License-Identifier: BSD-3-Clause */
/* remote.c - a connection to a server: login, the machine, the disks that are made and removed there. */
#include "disk/remote.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/hotadd_int.h"
#include "disk/keep_alive.h"
#include "disk/remote_int.h"
#include "net/tls.h"

/* ---- the connection ---- */

static const char *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static VixError copy_text(const char *text, char **ret_copy, struct err *err)
{
    if (text_or_null(text) == NULL) {
        return VIX_OK;
    }
    *ret_copy = alloc_text(text, err);
    return *ret_copy != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static void free_remote(struct remote *r)
{
    while (r->kept != NULL) {
        struct remote_kept *next = r->kept->next;
        free(r->kept->path);
        free(r->kept);
        r->kept = next;
    }
    (void)pthread_mutex_destroy(&r->lock);
    free(r->ca_file);
    free(r->thumbprint);
    free(r->vmx_spec);
    free(r->snapshot);
    free(r->transports);
    free(r->vm);
    free(r);
}

static VixError copy_params(struct remote *r, const struct remote_params *p, struct err *err)
{
    VixError code = copy_text(p->vmx_spec, &r->vmx_spec, err);

    if (code == VIX_OK) {
        code = copy_text(p->snapshot_ref, &r->snapshot, err);
    }
    if (code == VIX_OK) {
        code = copy_text(p->transports, &r->transports, err);
    }
    if (code == VIX_OK) {
        code = copy_text(r->config.ca_file, &r->ca_file, err);
    }
    if (code == VIX_OK) {
        code = copy_text(p->thumbprint, &r->thumbprint, err);
    }
    r->nfc_port = p->nfc_port;
    r->read_only = p->read_only;
    return code;
}

static VixError login(const struct remote_params *p, const struct remote_config *config,
                      struct vim_session **ret_session, struct err *err)
{
    const struct vim_login how = {
        .host = p->server,
        .port = p->port,
        .user = p->user,
        .password = p->password,
        .cookie = p->cookie,
        .thumbprint = text_or_null(p->thumbprint),
        .ca_file = config->ca_file,
        .insecure = config->insecure,
        .connect_timeout_ms = config->connect_ms,
        .call_timeout_ms = config->call_ms,
        .vmx_spec = text_or_null(p->vmx_spec),
    };
    return vim_login(&how, ret_session, err);
}

VixError remote_connect(const struct remote_params *params, struct remote **ret_remote, struct err *err)
{
    struct remote *r = alloc_zero(sizeof *r, err);

    if (r == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&r->lock, NULL);
    r->config = remote_read_config();
    VixError code = copy_params(r, params, err);
    if (code == VIX_OK) {
        code = login(params, &r->config, &r->session, err);
    }
    if (code != VIX_OK) {
        free_remote(r);
        return code;
    }
    const struct vim_about *about = vim_about(r->session);
    log_news("%s: connected to %s, interface %s", vim_peer(r->session),
             about->full_name != NULL ? about->full_name : "a server that does not say what it is",
             about->api_version != NULL ? about->api_version : "unknown");
    keep_alive_add(r->session, r->config.keep_alive_ms);
    *ret_remote = r;
    return VIX_OK;
}

static void end_connection(struct remote *r)
{
    keep_alive_remove(r->session);
    vim_logout(r->session);
    free_remote(r);
}

void remote_disconnect(struct remote *r)
{
    bool in_use;

    if (r == NULL) {
        return;
    }
    {
        SCOPED_LOCK(&r->lock);
        in_use = r->disks != NULL;
        r->ended = in_use;
    }
    if (!in_use) {
        end_connection(r);
    }
}

void remote_shutdown(void)
{
    keep_alive_shutdown();
}

const char *remote_peer(const struct remote *r)
{
    return vim_peer(r->session);
}

VixError remote_vm(struct remote *r, char **ret_vm, struct err *err)
{
    if (r->vmx_spec == NULL) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s: no virtual machine is named: vmxSpec, for instance \"moref=vm-16\", has to say whose the "
                       "disk is",
                       vim_peer(r->session));
    }
    SCOPED_LOCK(&r->lock);
    if (r->vm == NULL) {
        VixError code = vim_find_vm(r->session, r->vmx_spec, &r->vm, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    *ret_vm = alloc_text(r->vm, err);
    return *ret_vm != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

/* ---- open disks ---- */

static bool is_datastore_path(const char *path)
{
    const char *end = path != NULL && path[0] == '[' ? strchr(path, ']') : NULL;
    return end != NULL && end > path + 1 && end[1 + strspn(end + 1, " ")] != '\0';
}

VixError remote_path_check(const struct remote *r, const char *path, struct err *err)
{
    if (!is_datastore_path(path)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "%s: \"%.200s\" is not a disk on a datastore: that is written [datastore] dir/name.vmdk",
                       vim_peer(r->session), path != NULL ? path : "");
    }
    return VIX_OK;
}

static VixError open_request(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                             struct err *err)
{
    VixError code = remote_path_check(r, request->path, err);
    struct remote_open_disk *entry = code == VIX_OK ? alloc_zero(sizeof *entry, err) : NULL;

    if (entry == NULL) {
        return code == VIX_OK ? VIX_E_OUT_OF_MEMORY : code;
    }
    code = transport_open(r, request, &entry->d, err);
    if (code != VIX_OK) {
        free(entry);
        return code;
    }
    SCOPED_LOCK(&r->lock);
    entry->next = r->disks;
    r->disks = entry;
    *ret_disk = entry->d;
    return VIX_OK;
}

VixError remote_open(struct remote *r, const char *path, uint32_t open_flags, struct disk **ret_disk, struct err *err)
{
    const struct remote_request request = {
        .path = path,
        .flags = open_flags,
        .read_only = r->read_only || (open_flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) != 0,
    };
    return open_request(r, &request, ret_disk, err);
}

VixError remote_open_new(struct remote *r, const char *path, uint64_t capacity, uint32_t open_flags,
                         struct disk **ret_disk, struct err *err)
{
    const struct remote_request request = {
        .path = path, .flags = open_flags, .read_only = r->read_only, .capacity = capacity * SECTOR_SIZE};
    return open_request(r, &request, ret_disk, err);
}

void remote_disk_closes(struct remote *r, const struct disk *d, uint64_t in, uint64_t out)
{
    SCOPED_LOCK(&r->lock);
    for (struct remote_open_disk *entry = r->disks; entry != NULL; entry = entry->next) {
        if (entry->d == d) {
            entry->closes = true;
            r->closed_in += in;
            r->closed_out += out;
            break;
        }
    }
}

/** Whether it was the last disk of a connection that has ended. */
static bool forget_disk(struct remote *r, const struct disk *d)
{
    SCOPED_LOCK(&r->lock);
    for (struct remote_open_disk **at = &r->disks; *at != NULL; at = &(*at)->next) {
        struct remote_open_disk *entry = *at;
        if (entry->d == d) {
            *at = entry->next;
            free(entry);
            break;
        }
    }
    return r->ended && r->disks == NULL;
}

void remote_forget_disk(struct remote *r, const struct disk *d)
{
    if (forget_disk(r, d)) {
        end_connection(r);
    }
}

void remote_traffic(struct remote *r, uint64_t *ret_in, uint64_t *ret_out)
{
    SCOPED_LOCK(&r->lock);
    uint64_t all_in = r->closed_in;
    uint64_t all_out = r->closed_out;

    for (const struct remote_open_disk *entry = r->disks; entry != NULL; entry = entry->next) {
        uint64_t in = 0;
        uint64_t out = 0;
        if (!entry->closes) {
            disk_remote_traffic(entry->d, &in, &out);
        }
        all_in += in;
        all_out += out;
    }
    *ret_in = all_in;
    *ret_out = all_out;
}

/* ---- access ---- */

typedef VixError machine_func(void *ctx, struct vim_session *s, const char *vm, struct err *err);

/** Logs in, does it to the machine, logs out. */
static VixError with_machine(const struct remote_params *p, machine_func *func, void *ctx, struct err *err)
{
    struct vim_session *s = NULL;
    char *vm = NULL;
    struct remote_config config = remote_read_config();

    if (text_or_null(p->vmx_spec) == NULL) {
        return err_set(err, VIX_E_INVALID_ARG, "%s:%u: no virtual machine is named: vmxSpec has to be given", p->server,
                       p->port != 0 ? p->port : 443u);
    }
    VixError code = login(p, &config, &s, err);
    if (code == VIX_OK) {
        code = vim_find_vm(s, p->vmx_spec, &vm, err);
    }
    if (code == VIX_OK) {
        code = func(ctx, s, vm, err);
    }
    free(vm);
    vim_logout(s);
    return code;
}

struct access_call {
    VixError (*func)(struct vim_session *s, const char *vm, const char *identity, struct err *err);
    const char *identity;
};

static VixError do_access(void *ctx, struct vim_session *s, const char *vm, struct err *err)
{
    const struct access_call *call = ctx;
    return call->func(s, vm, call->identity != NULL ? call->identity : "", err);
}

VixError remote_prepare_access(const struct remote_params *params, const char *identity, struct err *err)
{
    struct access_call call = {.func = vim_disable_methods, .identity = identity};
    return with_machine(params, do_access, &call, err);
}

VixError remote_end_access(const struct remote_params *params, const char *identity, struct err *err)
{
    struct access_call call = {.func = vim_enable_methods, .identity = identity};
    return with_machine(params, do_access, &call, err);
}

struct cleanup_call {
    unsigned device_ms;
    uint32_t cleaned, remaining;
};

static VixError do_cleanup(void *ctx, struct vim_session *s, const char *vm, struct err *err)
{
    struct cleanup_call *call = ctx;
    return hotadd_cleanup(s, vm, call->device_ms, &call->cleaned, &call->remaining, err);
}

VixError remote_cleanup(const struct remote_params *params, uint32_t *ret_cleaned, uint32_t *ret_remaining,
                        struct err *err)
{
    struct cleanup_call call = {.device_ms = remote_read_config().hotadd_device_ms};
    VixError code = with_machine(params, do_cleanup, &call, err);

    if (code == VIX_OK) {
        *ret_cleaned = call.cleaned;
        *ret_remaining = call.remaining;
    }
    return code;
}

/* ---- making and removing ---- */

static VixError check_writable(const struct remote *r, struct err *err)
{
    return r->read_only ? err_set(err, VIX_E_FILE_READ_ONLY, "%s: the connection is read-only", vim_peer(r->session))
                        : VIX_OK;
}

static VixError type_word(const struct remote *r, VixDiskLibDiskType type, const char **ret_word, struct err *err)
{
    switch (type) {
    case VIXDISKLIB_DISK_VMFS_FLAT:
    case VIXDISKLIB_DISK_MONOLITHIC_FLAT:
    case VIXDISKLIB_DISK_SPLIT_FLAT:
        *ret_word = "preallocated";
        return VIX_OK;
    case VIXDISKLIB_DISK_VMFS_THIN:
    case VIXDISKLIB_DISK_MONOLITHIC_SPARSE:
    case VIXDISKLIB_DISK_SPLIT_SPARSE:
    case VIXDISKLIB_DISK_STREAM_OPTIMIZED:
        *ret_word = "thin";
        return VIX_OK;
    case VIXDISKLIB_DISK_VMFS_SPARSE:
    case VIXDISKLIB_DISK_UNKNOWN:
    default:
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: a disk of type %d cannot be made on a datastore: VMFS_FLAT (thick) and VMFS_THIN can",
                       vim_peer(r->session), (int)type);
    }
}

static const char *adapter_name(VixDiskLibAdapterType adapter)
{
    switch (adapter) {
    case VIXDISKLIB_ADAPTER_IDE:
        return "ide";
    case VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC:
        return "busLogic";
    case VIXDISKLIB_ADAPTER_SCSI_LSILOGIC:
    case VIXDISKLIB_ADAPTER_UNKNOWN:
    default:
        return "lsiLogic";
    }
}

/** Makes the folder that a disk is to lie in, if it is not the datastore itself. */
static VixError make_folder_of(struct remote *r, const char *path, struct err *err)
{
    const char *name = strchr(path, ']') + 1;
    const char *slash = strrchr(name, '/');

    if (slash == NULL) {
        return VIX_OK;
    }
    CLEANUP_FREE char *folder = alloc_text_n(path, (size_t)(slash - path), err);
    if (folder == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_make_folder(r->session, folder, err);
    return code == VIX_E_FILE_ALREADY_EXISTS ? VIX_OK : code;
}

VixError remote_create(struct remote *r, const char *path, const struct create_params *params, struct err *err)
{
    const char *word = NULL;
    uint64_t bytes = 0;
    VixError code = check_writable(r, err);

    if (code == VIX_OK) {
        code = remote_path_check(r, path, err);
    }
    if (code == VIX_OK) {
        code = type_word(r, params->type, &word, err);
    }
    if (code == VIX_OK && (params->capacity == 0 || !checked_mul(params->capacity, SECTOR_SIZE, &bytes))) {
        code =
            err_set(err, VIX_E_INVALID_ARG, "%s: a capacity of %" PRIu64 " sectors cannot be", path, params->capacity);
    }
    if (code == VIX_OK) {
        code = make_folder_of(r, path, err);
    }
    return code == VIX_OK ? vim_create_disk(r->session, path, word, adapter_name(params->adapter), bytes, err) : code;
}

VixError remote_unlink(struct remote *r, const char *path, struct err *err)
{
    VixError code = check_writable(r, err);

    if (code == VIX_OK) {
        code = remote_path_check(r, path, err);
    }
    return code == VIX_OK ? vim_delete_disk(r->session, path, err) : code;
}

void remote_keep(struct remote *r, const char *path)
{
    struct remote_kept *kept = alloc_zero(sizeof *kept, NULL);
    SCOPED_LOCK(&r->lock);

    if (kept == NULL || (kept->path = alloc_text(path, NULL)) == NULL) {
        free(kept);
        r->keeps_all = true;
        return;
    }
    kept->next = r->kept;
    r->kept = kept;
}

bool remote_is_kept(struct remote *r, const char *path)
{
    SCOPED_LOCK(&r->lock);
    bool found = r->keeps_all;

    for (const struct remote_kept *k = r->kept; k != NULL && !found; k = k->next) {
        found = strcmp(k->path, path) == 0;
    }
    return found;
}

VixError remote_move(struct remote *r, const char *from, const char *to, struct err *err)
{
    VixError code = check_writable(r, err);

    if (code == VIX_OK) {
        code = remote_path_check(r, from, err);
    }
    if (code == VIX_OK) {
        code = remote_path_check(r, to, err);
    }
    return code == VIX_OK ? vim_move_disk(r->session, from, to, err) : code;
}

VixError remote_grow(struct remote *r, const char *path, uint64_t capacity, struct err *err)
{
    uint64_t bytes = 0;
    VixError code = check_writable(r, err);

    if (code == VIX_OK) {
        code = remote_path_check(r, path, err);
    }
    if (code == VIX_OK && !checked_mul(capacity, SECTOR_SIZE, &bytes)) {
        code = err_set(err, VIX_E_INVALID_ARG, "%s: a capacity of %" PRIu64 " sectors cannot be", path, capacity);
    }
    return code == VIX_OK ? vim_extend_disk(r->session, path, bytes, err) : code;
}

VixError remote_list(struct remote *r, struct vim_inventory **ret_inventory, struct err *err)
{
    return vim_list(r->session, ret_inventory, err);
}

VixError remote_thumbprint(const char *host, uint16_t port, unsigned timeout_ms, char *sha1, char *sha256,
                           struct err *err)
{
    struct thumbprint print;
    VixError code = tls_fetch_thumbprint(host, port != 0 ? port : 443, timeout_ms, &print, err);

    if (code == VIX_OK) {
        thumbprint_format(print.sha1, sizeof print.sha1, sha1);
        thumbprint_format(print.sha256, sizeof print.sha256, sha256);
    }
    return code;
}

const struct vim_about *remote_about(const struct remote *r)
{
    return vim_about(r->session);
}

bool remote_is_vcenter(const struct remote *r)
{
    return vim_is_vcenter(r->session);
}
