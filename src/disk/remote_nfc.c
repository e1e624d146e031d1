/* SPDX-License-Identifier: BSD-3-Clause */
/* remote_nfc.c - the way from a path on a datastore to an open disk: the machine's hardware, a ticket, the NFC
 * connection. What is needed to go it again, when a connection is lost, is kept with the disk. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/activity.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/disk_hardware.h"
#include "disk/disk_remote.h"
#include "disk/remote_int.h"
#include "nfc/client.h"

#define OPEN_AGAIN_PAUSE_MS 250 /* own: before a disk whose connection was lost while it was opened is opened again */

/** How a disk was reached. */
struct way {
    struct remote *r;
    char *path;
    uint32_t flags;
    bool read_only;
    bool ssl;
    char *vm;            /* NULL: the connection names none, and the disk belongs to none */
    bool attached;       /* by us, for as long as it is open */
    int32_t key;         /* of what was attached */
    char *nfc_host;      /* "name:port" of the last connection */
    bool aside;          /* another transport has the disk, and may write to it */
    uint64_t capacity;   /* bytes, when it was opened */
    uint32_t content_id; /* then; 0: not told */
};

/** What the machine's hardware says of the disk. */
struct finding {
    bool found;
    int32_t key;
    int links;
    VixDiskLibDiskType type;
    char *host; /* of the machine */
    struct disk_hardware *hardware;
};

static void finding_done(struct finding *f)
{
    free(f->host);
    disk_hardware_free(f->hardware);
    *f = (struct finding){0};
}

static void way_free(struct way *w)
{
    free(w->path);
    free(w->vm);
    free(w->nfc_host);
    free(w);
}

/* ---- finding ---- */

static VixError look_for_disk(const struct way *w, struct finding *ret_finding, struct err *err)
{
    struct vim_vm *vm = NULL;
    struct finding f = {.links = 1, .type = VIXDISKLIB_DISK_VMFS_FLAT};

    if (w->vm == NULL) {
        *ret_finding = f;
        return VIX_OK;
    }
    VixError code = vim_read_vm(w->r->session, w->vm, w->r->snapshot, &vm, err);
    if (code != VIX_OK) {
        return code;
    }
    const struct vim_disk *d = vim_disk_by_path(vm, w->path);
    if (d != NULL) {
        f.found = true;
        f.key = d->key;
        f.type = d->thin ? VIXDISKLIB_DISK_VMFS_THIN : VIXDISKLIB_DISK_VMFS_FLAT;
        code = disk_hardware_new(d, w->path, &f.hardware, err);
        f.links = code == VIX_OK && f.hardware->file_count > 0 ? (int)f.hardware->file_count : 1;
    } else if (w->attached) {
        f.found = true;
        f.key = w->key;
    }
    if (code == VIX_OK && vm->host != NULL && (f.host = alloc_text(vm->host, err)) == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    vim_vm_free(vm);
    if (code == VIX_OK) {
        *ret_finding = f;
    } else {
        finding_done(&f);
    }
    return code;
}

/* ---- tickets ---- */

static VixError datastore_ticket(const struct way *w, const char *host, struct vim_ticket **ret_ticket, struct err *err)
{
    CLEANUP_FREE char *name = alloc_text_n(w->path + 1, strcspn(w->path + 1, "]"), err);
    CLEANUP_FREE char *moref = NULL;

    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_find_datastore(w->r->session, name, &moref, err);
    return code == VIX_OK ? vim_get_ticket(w->r->session, VIM_TICKET_DATASTORE, moref, 0, host, ret_ticket, err) : code;
}

/** A fault of the call that gives tickets for any file may have to do with the machine's other files. */
static VixError read_ticket(const struct way *w, const struct finding *f, struct vim_ticket **ret_ticket,
                            struct err *err)
{
    struct vim_session *s = w->r->session;
    VixError code = vim_get_ticket(s, VIM_TICKET_READ_VM, w->vm, 0, NULL, ret_ticket, err);

    if (code == VIX_OK || !f->found || code == VIX_E_HOST_TCP_CONN_LOST || code == VIX_E_OUT_OF_MEMORY) {
        return code;
    }
    log_news("%s: %s; a ticket for the one disk is asked for", w->path, err->text);
    return vim_get_ticket(s, VIM_TICKET_READ_DISK, w->vm, f->key, f->host, ret_ticket, err);
}

static VixError get_ticket(const struct way *w, const struct finding *f, struct vim_ticket **ret_ticket,
                           struct err *err)
{
    if (w->vm == NULL) {
        return datastore_ticket(w, NULL, ret_ticket, err);
    }
    if (w->read_only) {
        return read_ticket(w, f, ret_ticket, err);
    }
    if (f->found) {
        return vim_get_ticket(w->r->session, VIM_TICKET_WRITE_DISK, w->vm, f->key, f->host, ret_ticket, err);
    }
    return datastore_ticket(w, f->host, ret_ticket, err);
}

/* ---- connecting ---- */

static enum nfc_compression compression_of(uint32_t flags)
{
    if ((flags & VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB) != 0) {
        return NFC_COMPRESS_ZLIB;
    }
    if ((flags & VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ) != 0) {
        return NFC_COMPRESS_FASTLZ;
    }
    return (flags & VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ) != 0 ? NFC_COMPRESS_SKIPZ : NFC_COMPRESS_NONE;
}

/** The scheme of the address in the line that tells of an open disk, as VMware's library writes it. */
static const char *scheme_of(const char *service)
{
    return service != NULL && strncmp(service, "vpxa", 4) == 0 ? "vpxa-nfc" : "ha-nfc";
}

/** The line that other programs read to learn the host: its beginning is that of VMware's library. */
static void tell_link(const struct way *w, const struct vim_ticket *t, uint16_t port, uint64_t capacity)
{
    static const char *const prefix[] = {"", "ZLIB-", "FASTLZ-", "SKIPZ-"};

    log_news("DISKLIB-LINK  : Opened '%s%s%s://%s@%s:%u' (0x%x): custom, %" PRIu64 " sectors / %" PRIu64 " GB.",
             prefix[compression_of(w->flags)], scheme_of(t->service), w->ssl ? "ssl" : "", w->path, t->host,
             (unsigned)port, w->read_only ? 0xeu : 0xau, capacity / SECTOR_SIZE, capacity >> 30);
}

static uint16_t port_of(const struct way *w, const struct vim_ticket *t)
{
    uint16_t port = w->r->nfc_port != 0 ? w->r->nfc_port : t->port;
    return port != 0 ? port : NFC_PORT;
}

/** What the host's certificate must have: what the ticket tells; where that tells nothing (old hosts) and the host is
 * the server itself, what the server was checked by. NULL: neither. */
static const char *thumbprint_of(const struct way *w, const struct vim_ticket *t)
{
    if (t->thumbprint != NULL || t->certificate != NULL) {
        return t->thumbprint;
    }
    return strcasecmp(t->host, vim_host(w->r->session)) == 0 ? w->r->thumbprint : NULL;
}

static VixError connect_with_ticket(const struct way *w, const struct vim_ticket *t, struct nfc_client **ret_client,
                                    struct nfc_disk_info *ret_info, struct err *err)
{
    const struct remote_config *c = &w->r->config;
    const struct nfc_connect how = {
        .host = t->host,
        .port = port_of(w, t),
        .session_id = t->session_id,
        .service = t->service,
        .thumbprint = thumbprint_of(w, t),
        .certificate = t->certificate,
        .ca_file = w->r->ca_file,
        .insecure = c->insecure,
        .ssl = w->ssl,
        .compression = compression_of(w->flags),
        .buffer_size = c->buffer_size,
        .buffer_count = c->buffer_count,
        .connect_timeout_ms = c->connect_ms,
        .handshake_timeout_ms = c->handshake_ms,
        .read_timeout_ms = c->read_ms,
        .write_timeout_ms = c->write_ms,
        .keep_alive_ms = c->keep_alive_ms,
        .path = w->path,
        .read_only = w->read_only,
        .single_link = (w->flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK) != 0,
    };
    if (how.thumbprint == NULL && how.certificate == NULL && how.insecure) {
        log_warn("%s:%u: the host's certificate is not checked: the ticket does not tell it, and "
                 "vixDiskLib.linuxSSL.verifyCertificates is 0",
                 t->host, (unsigned)how.port);
    }
    return nfc_client_open(&how, ret_client, ret_info, err);
}

/** The whole way. @first tells of the open disk; it is the client's thread then. */
static VixError go(struct way *w, bool first, struct finding *ret_finding, struct nfc_client **ret_client,
                   struct nfc_disk_info *ret_info, struct err *err)
{
    struct finding f = {0};
    struct vim_ticket *t = NULL;
    VixError code = look_for_disk(w, &f, err);

    if (code == VIX_OK) {
        code = get_ticket(w, &f, &t, err);
    }
    if (code == VIX_OK && first) {
        free(w->nfc_host);
        w->nfc_host = alloc_printf(err, "%s:%u", t->host, (unsigned)port_of(w, t));
        code = w->nfc_host != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK) {
        code = connect_with_ticket(w, t, ret_client, ret_info, err);
    }
    if (code == VIX_OK && first) {
        tell_link(w, t, port_of(w, t), ret_info->capacity);
    }
    vim_ticket_free(t);
    if (code == VIX_OK) {
        *ret_finding = f;
    } else {
        finding_done(&f);
    }
    return code;
}

static void pause_before_again(void)
{
    const struct timespec t = {.tv_nsec = OPEN_AGAIN_PAUSE_MS * 1000000L};

    (void)nanosleep(&t, NULL);
}

/** The whole way for a disk that is being opened: once more, with a new ticket, where the connection was lost under
 * way. What is told if that fails, too, is the first failure: of a disk that is to be written the host may still hold
 * the lock for the connection that was lost. A time-out has taken long enough. */
static VixError go_first(struct way *w, struct finding *ret_finding, struct nfc_client **ret_client,
                         struct nfc_disk_info *ret_info, struct err *err)
{
    struct err second;
    VixError code = go(w, true, ret_finding, ret_client, ret_info, err);

    if (code != VIX_E_HOST_NETBLKDEV_HANDSHAKE || err->retry != ERR_RETRY_HELPS || err->sys_errno == ETIMEDOUT) {
        return code;
    }
    log_news("%s: %s; once more", w->path, err->text);
    activity_retry();
    pause_before_again();
    err_init(&second);
    return go(w, true, ret_finding, ret_client, ret_info, &second) == VIX_OK ? VIX_OK : code;
}

static uint32_t content_id_of(const struct finding *f)
{
    return f->hardware != NULL ? f->hardware->cid : 0;
}

/** A disk that others have changed meanwhile is another one: what was read before does not belong to what comes. */
static VixError check_unchanged(const struct way *w, const struct finding *f, const struct nfc_disk_info *info,
                                struct err *err)
{
    const uint32_t id = content_id_of(f);

    if (info->capacity != w->capacity) {
        return err_set(err, VIX_E_DISK_CAPACITY_MISMATCH,
                       "%s: %s: the disk was changed while the connection was lost: it has %" PRIu64
                       " bytes, and had %" PRIu64,
                       w->nfc_host, w->path, info->capacity, w->capacity);
    }
    if (!w->aside && id != 0 && w->content_id != 0 && id != w->content_id) {
        return err_set(err, VIX_E_DISK_CID_MISMATCH,
                       "%s: %s: the disk was changed while the connection was lost: its content ID is %08" PRIx32
                       ", and was %08" PRIx32,
                       w->nfc_host, w->path, id, w->content_id);
    }
    return VIX_OK;
}

/** For the queue of a disk that is read, after its connection was lost. */
static VixError go_again(void *ctx, struct nfc_client **ret_client, struct err *err)
{
    struct way *w = ctx;
    struct finding f = {0};
    struct nfc_disk_info info;

    VixError code = go(w, false, &f, ret_client, &info, err);
    if (code == VIX_OK) {
        code = check_unchanged(w, &f, &info, err);
        if (code != VIX_OK) {
            nfc_client_close(*ret_client);
            *ret_client = NULL;
        }
    }
    finding_done(&f);
    return code;
}

/* ---- a disk that belongs to no machine ---- */

static void detach(struct way *w)
{
    struct err err;

    if (!w->attached) {
        return;
    }
    w->attached = false;
    err_init(&err);
    if (vim_detach_disk(w->r->session, w->vm, w->key, w->path, NULL, &err) != VIX_OK) {
        log_news("%s: the disk stays attached to %s: %s", w->path, w->vm, err.text);
        remote_keep(w->r, w->path);
    }
}

/** After an attach that failed: it may have been done all the same. @open: and may be done yet. */
static void detach_failed(struct way *w, bool open)
{
    struct vim_vm *now = NULL;
    struct err err;

    err_init(&err);
    if (vim_read_vm(w->r->session, w->vm, NULL, &now, &err) != VIX_OK) {
        log_news("%s: whether the disk is attached to %s is not known: %s", w->path, w->vm, err.text);
        remote_keep(w->r, w->path);
        return;
    }
    const struct vim_disk *d = vim_disk_by_path(now, w->path);
    if (d != NULL) {
        w->attached = true;
        w->key = d->key;
        detach(w);
    } else if (open) {
        remote_keep(w->r, w->path);
    }
    vim_vm_free(now);
}

/** A machine that runs holds the lock of its disks: attaching would change it, and help nobody. */
static bool is_machine_off(const struct way *w)
{
    struct vim_vm *now = NULL;
    bool off = false;

    if (vim_read_vm(w->r->session, w->vm, NULL, &now, NULL) == VIX_OK) {
        off = now->power_state != NULL && strcmp(now->power_state, "poweredOff") == 0;
        vim_vm_free(now);
    }
    return off;
}

/** Hosts that open no new disk with a ticket for the datastore open it when it is a machine's. */
static bool may_help_to_attach(const struct way *w, const struct remote_request *request, VixError code)
{
    return w->vm != NULL && !w->read_only && request->capacity > 0 &&
           (code == VIX_E_FILE_ACCESS_ERROR || code == VIX_E_FILE_READ_ONLY || code == VIX_E_NOT_SUPPORTED ||
            code == VIX_E_FILE_ERROR || code == VIX_E_HOST_USER_PERMISSIONS) &&
           is_machine_off(w);
}

static VixError go_attached(struct way *w, const struct remote_request *request, struct finding *ret_finding,
                            struct nfc_client **ret_client, struct nfc_disk_info *ret_info, struct err *err)
{
    bool open = false;
    VixError code =
        vim_attach_disk(w->r->session, w->vm, request->path, "persistent", request->capacity, &w->key, &open, err);

    if (code != VIX_OK) {
        detach_failed(w, open);
        return code;
    }
    w->attached = true;
    code = go_first(w, ret_finding, ret_client, ret_info, err);
    if (code != VIX_OK) {
        detach(w);
    }
    return code;
}

/* ---- the disk ---- */

static void way_closes(void *ctx, struct disk *d, uint64_t in, uint64_t out)
{
    const struct way *w = ctx;

    remote_disk_closes(w->r, d, in, out);
}

static void way_closed(void *ctx, struct disk *d)
{
    struct way *w = ctx;

    detach(w);
    remote_forget_disk(w->r, d);
    way_free(w);
}

static VixError way_new(struct remote *r, const struct remote_request *request, bool ssl, struct way **ret_way,
                        struct err *err)
{
    struct way *w = alloc_zero(sizeof *w, err);

    if (w == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    w->r = r;
    w->flags = request->flags;
    w->read_only = request->read_only;
    w->ssl = ssl;
    w->aside = request->aside;
    w->path = alloc_text(request->path, err);
    VixError code = w->path != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    if (code == VIX_OK && (r->vmx_spec != NULL || request->capacity == 0)) {
        code = remote_vm(r, &w->vm, err);
    }
    if (code != VIX_OK) {
        way_free(w);
        return code;
    }
    *ret_way = w;
    return VIX_OK;
}

static VixError make_disk(struct way *w, struct finding *f, struct nfc_client *client, const struct nfc_disk_info *info,
                          struct disk **ret_disk, struct err *err)
{
    const struct remote_config *c = &w->r->config;
    bool single_link = (w->flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK) != 0;
    bool known_alone = f->hardware != NULL && f->hardware->file_count == 1;
    const struct disk_remote_params p = {
        .queue = {.host = w->nfc_host,
                  .path = w->path,
                  .request_max = c->request_max,
                  .depth = c->depth,
                  .writable = !w->read_only,
                  .reopen = go_again,
                  .ctx = w,
                  .reopen_ms = c->handshake_ms},
        .ssl = w->ssl,
        .links = single_link ? 1 : f->links,
        .parent_closed = single_link && !known_alone,
        .type = f->type,
        .hardware = TAKE_PTR(f->hardware),
        .closes = way_closes,
        .closed = way_closed,
    };
    return disk_remote_new(&p, client, info, ret_disk, err);
}

VixError remote_open_nfc(struct remote *r, const struct remote_request *request, bool ssl, struct disk **ret_disk,
                         struct err *err)
{
    struct way *w = NULL;
    struct finding f = {0};
    struct nfc_client *client = NULL;
    struct nfc_disk_info info;
    VixError code = way_new(r, request, ssl, &w, err);

    if (code != VIX_OK) {
        return code;
    }
    code = go_first(w, &f, &client, &info, err);
    if (code != VIX_OK && may_help_to_attach(w, request, code)) {
        log_news("%s: %s; the disk is attached to %s meanwhile", request->path, err->text, w->vm);
        code = go_attached(w, request, &f, &client, &info, err);
    }
    if (code == VIX_OK) {
        w->capacity = info.capacity;
        w->content_id = content_id_of(&f);
        code = make_disk(w, &f, client, &info, ret_disk, err);
    }
    finding_done(&f);
    if (code != VIX_OK) {
        detach(w);
        way_free(w);
    }
    return code;
}

VixError remote_endpoint(struct remote *r, const char *path, char **ret_host, uint16_t *ret_port, struct err *err)
{
    const struct remote_request request = {.path = path, .read_only = true};
    struct way *w = NULL;
    struct finding f = {0};
    struct vim_ticket *t = NULL;

    VixError code = remote_path_check(r, path, err);
    if (code == VIX_OK) {
        code = way_new(r, &request, true, &w, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = look_for_disk(w, &f, err);
    if (code == VIX_OK) {
        code = get_ticket(w, &f, &t, err);
    }
    if (code == VIX_OK) {
        uint16_t port = port_of(w, t);
        char *host = alloc_text(t->host, err);
        code = host != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
        if (code == VIX_OK) {
            *ret_host = host;
            *ret_port = port;
        }
    }
    vim_ticket_free(t);
    finding_done(&f);
    way_free(w);
    return code;
}

VixError remote_open_any_nfc(struct remote *r, const char *path, uint32_t flags, struct disk **ret_disk,
                             struct err *err)
{
    const struct remote_request request = {.path = path, .flags = flags, .read_only = true, .aside = true};

    VixError code = remote_open_nfc(r, &request, true, ret_disk, err);
    if (code == VIX_E_HOST_NETBLKDEV_HANDSHAKE || code == VIX_E_NOT_SUPPORTED) {
        code = remote_open_nfc(r, &request, false, ret_disk, err);
    }
    return code;
}
