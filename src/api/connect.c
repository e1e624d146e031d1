/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections and their parameters.
 *
 * A program may have been compiled with any of three sizes of the parameter struct, and nothing tells which. So only
 * the part that all of them share is read, except from structs that this library allocated, which are kept in a list. A
 * struct of VixDiskLib_AllocateConnectParams holds strings of the program; one of VixDiskLib_GetConnectParams holds
 * ours, which lie in the same piece of memory: freeing is one step for both. Everything is copied while the call runs.
 */
#include "api/api.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"

#define PARAMS_COMMON_SIZE offsetof(VixDiskLibConnectParams, vimApiVer)
#define PARAMS_ROOM 256 /* what a program with a newer header may write to */
#define PARAMS_TEXTS 12
#define IDENTITY_MAX 50u /* limit: bytes of the identity that a program gives to PrepareForAccess */

_Static_assert(PARAMS_COMMON_SIZE == 72, "the struct of the 5.x interface has 72 bytes");

/** Parameters in our memory. */
struct params_box {
    struct params_box *next;
    size_t size; /* of the box and the texts that follow it */
    union {
        VixDiskLibConnectParams params;
        char room[PARAMS_ROOM];
    } u;
    char texts[];
};

static pthread_mutex_t boxes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct params_box *boxes; /* those that programs hold */

static void box_free(struct params_box *box)
{
    if (box != NULL) {
        explicit_bzero(box, box->size); /* passwords */
        free(box);
    }
}

static VixDiskLibConnectParams *box_lend(struct params_box *box)
{
    SCOPED_LOCK(&boxes_lock);
    box->next = boxes;
    boxes = box;
    return &box->u.params;
}

/** The box whose parameters a program holds, taken off the list if asked; NULL if they are not ours. */
static struct params_box *box_find(const VixDiskLibConnectParams *params, bool take)
{
    SCOPED_LOCK(&boxes_lock);
    for (struct params_box **at = &boxes; *at != NULL; at = &(*at)->next) {
        struct params_box *box = *at;
        if (&box->u.params == params) {
            if (take) {
                *at = box->next;
            }
            return box;
        }
    }
    return NULL;
}

/* ---- deep copies ---- */

struct text_list {
    char **fields[PARAMS_TEXTS];
    size_t count;
};

static void list_text(struct text_list *list, char **field)
{
    if (*field != NULL) {
        list->fields[list->count++] = field;
    }
}

static void list_credentials(struct text_list *list, VixDiskLibConnectParams *p)
{
    switch (p->credType) {
    case VIXDISKLIB_CRED_UID:
    case VIXDISKLIB_CRED_SSPI:
        list_text(list, &p->creds.uid.userName);
        list_text(list, &p->creds.uid.password);
        p->creds.sessionId.key = NULL;
        break;
    case VIXDISKLIB_CRED_SESSIONID:
        list_text(list, &p->creds.sessionId.cookie);
        list_text(list, &p->creds.sessionId.userName);
        list_text(list, &p->creds.sessionId.key);
        break;
    case VIXDISKLIB_CRED_TICKETID:
    case VIXDISKLIB_CRED_UNKNOWN:
    default:
        memset(&p->creds, 0, sizeof p->creds);
        break;
    }
}

static void list_spec(struct text_list *list, VixDiskLibConnectParams *p)
{
    switch (p->specType) {
    case VIXDISKLIB_SPEC_VSTORAGE_OBJECT:
        list_text(list, &p->spec.vStorageObjSpec.id);
        list_text(list, &p->spec.vStorageObjSpec.datastoreMoRef);
        list_text(list, &p->spec.vStorageObjSpec.ssId);
        break;
    case VIXDISKLIB_SPEC_DATASTORE:
        list_text(list, &p->spec.dsSpec.datastoreMoRef);
        list_text(list, &p->spec.dsSpec.diskFolder);
        p->spec.vStorageObjSpec.ssId = NULL;
        break;
    case VIXDISKLIB_SPEC_VMX:
    case VIXDISKLIB_SPEC_UNKNOWN:
    default:
        memset(&p->spec, 0, sizeof p->spec);
        break;
    }
}

/** Every text that a struct points to. What is no text is cleared. */
static void list_texts(struct text_list *list, VixDiskLibConnectParams *p)
{
    list->count = 0;
    list_text(list, &p->vmxSpec);
    list_text(list, &p->serverName);
    list_text(list, &p->thumbPrint);
    list_credentials(list, p);
    list_text(list, &p->vimApiVer);
    list_spec(list, p);
}

/** The members of a program's struct that may be read. */
static void read_params(VixDiskLibConnectParams *to, const VixDiskLibConnectParams *from)
{
    memset(to, 0, sizeof *to);
    if (from == NULL) {
        return;
    }
    memcpy(to, from, PARAMS_COMMON_SIZE);
    if (library_major() < 6) {
        to->nfcHostPort = 0; /* before 6.0 padding, which nobody clears */
    }
    if (box_find(from, false) != NULL) {
        to->vimApiVer = from->vimApiVer;
        to->spec = from->spec;
        to->specType = from->specType;
    }
}

/** A box with p and a copy of every text that p points to. */
static VixError box_copy(VixDiskLibConnectParams p, struct params_box **ret_box, struct err *err)
{
    struct text_list list;

    list_texts(&list, &p);
    size_t size = sizeof(struct params_box);
    for (size_t i = 0; i < list.count; i++) {
        size += strlen(*list.fields[i]) + 1;
    }
    struct params_box *box = alloc_zero(size, err);
    if (box == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    box->size = size;
    char *at = box->texts;
    for (size_t i = 0; i < list.count; i++) {
        size_t len = strlen(*list.fields[i]) + 1;
        memcpy(at, *list.fields[i], len);
        *list.fields[i] = at;
        at += len;
    }
    box->u.params = p;
    *ret_box = box;
    return VIX_OK;
}

/* ---- what is asked for ---- */

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/** VIX_OK for parameters that name no server. */
static VixError check_local(const VixDiskLibConnectParams *p, struct err *err)
{
    if (is_set(p->vmxSpec)) {
        return err_set(err, VIX_E_INVALID_ARG, "virtual machine %s: a server name has to be given too", p->vmxSpec);
    }
    if (p->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT && is_set(p->spec.vStorageObjSpec.id)) {
        return err_set(err, VIX_E_INVALID_ARG, "first-class disk %s: a server name has to be given too",
                       p->spec.vStorageObjSpec.id);
    }
    return VIX_OK;
}

/** "host:port: ", for sentences before there is a connection. */
static void tell_server(const VixDiskLibConnectParams *p, struct err *err)
{
    bool brackets = strchr(p->serverName, ':') != NULL && p->serverName[0] != '[';
    err_prefix(err, brackets ? "[%.200s]:%" PRIu32 ": " : "%.200s:%" PRIu32 ": ", p->serverName,
               p->port != 0 ? p->port : 443);
}

static VixError check_ports(const VixDiskLibConnectParams *p, struct err *err)
{
    if (p->port > UINT16_MAX || p->nfcHostPort > UINT16_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s %" PRIu32 " is no port: the highest is 65535",
                       p->port > UINT16_MAX ? "port" : "nfcHostPort", p->port > UINT16_MAX ? p->port : p->nfcHostPort);
    }
    return VIX_OK;
}

static VixError check_spec(const VixDiskLibConnectParams *p, struct err *err)
{
    if (p->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "first-class disks (VSTORAGE_OBJECT) cannot be opened: attach the disk to a virtual machine and "
                       "name that in vmxSpec");
    }
    if (p->specType == VIXDISKLIB_SPEC_DATASTORE) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "disks cannot be named by their datastore alone (SPEC_DATASTORE): name a virtual machine in "
                       "vmxSpec");
    }
    return VIX_OK;
}

static VixError take_credentials(const VixDiskLibConnectParams *p, struct remote_params *to, struct err *err)
{
    switch (p->credType) {
    case VIXDISKLIB_CRED_UID:
        to->user = p->creds.uid.userName;
        to->password = p->creds.uid.password;
        if (!is_set(to->user) || to->password == NULL) {
            return err_set(err, VIX_E_INVALID_ARG, "the %s is missing",
                           is_set(to->user) ? "password" : "name of the user");
        }
        return VIX_OK;
    case VIXDISKLIB_CRED_SESSIONID:
        to->cookie = p->creds.sessionId.cookie;
        return is_set(to->cookie) ? VIX_OK : err_set(err, VIX_E_INVALID_ARG, "the cookie of the session is missing");
    case VIXDISKLIB_CRED_SSPI:
    case VIXDISKLIB_CRED_TICKETID:
        return err_set(err, VIX_E_LOGIN_TYPE_NOT_SUPPORTED,
                       "credentials of type %d (SSPI, TICKETID) are not supported: give user and password (UID) or a "
                       "session's cookie (SESSIONID)",
                       (int)p->credType);
    case VIXDISKLIB_CRED_UNKNOWN:
    default:
        return err_set(err, VIX_E_INVALID_ARG, "the type of the credentials is not set, or unknown: %d",
                       (int)p->credType);
    }
}

/** How to reach the server of a program's parameters; the texts stay the program's. */
static VixError read_server(const VixDiskLibConnectParams *p, struct remote_params *ret_params, struct err *err)
{
    struct remote_params to = {.server = p->serverName, .thumbprint = p->thumbPrint, .vmx_spec = p->vmxSpec};
    VixError code = check_ports(p, err);

    if (code == VIX_OK) {
        code = check_spec(p, err);
    }
    if (code == VIX_OK) {
        code = take_credentials(p, &to, err);
    }
    if (code != VIX_OK) {
        tell_server(p, err);
        return code;
    }
    to.port = (uint16_t)p->port;
    to.nfc_port = (uint16_t)p->nfcHostPort;
    *ret_params = to;
    return VIX_OK;
}

/** How a program wants its disks opened. */
struct access {
    bool read_only;
    const char *snapshot, *transports;
};

static VixError connect_server(const VixDiskLibConnectParams *p, const struct access *access, struct connection *c,
                               struct err *err)
{
    struct remote_params to;
    VixError code = read_server(p, &to, err);

    if (code != VIX_OK) {
        return code;
    }
    to.snapshot_ref = access->snapshot;
    to.transports = access->transports;
    to.read_only = access->read_only;
    return remote_connect(&to, &c->remote, err);
}

static void connection_free(struct connection *c)
{
    if (c != NULL) {
        remote_disconnect(c->remote);
        box_free(c->params);
        free(c);
    }
}

static VixError make_connection(const VixDiskLibConnectParams *params, const struct access *access,
                                struct connection **ret_connection, struct err *err)
{
    VixDiskLibConnectParams p;
    struct connection *c = alloc_zero(sizeof *c, err);

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    read_params(&p, params);
    c->read_only = access->read_only;
    VixError code = box_copy(p, &c->params, err);
    if (code == VIX_OK) {
        code = is_set(p.serverName) ? connect_server(&p, access, c, err) : check_local(&p, err);
    }
    if (code != VIX_OK) {
        connection_free(c);
        return code;
    }
    *ret_connection = c;
    return VIX_OK;
}

static VixError connect_and_publish(const VixDiskLibConnectParams *params, const struct access *access,
                                    VixDiskLibConnection *ret_handle, struct err *err)
{
    struct connection *c = NULL;
    struct slot *slot;
    VixError code = handle_reserve(HANDLE_CONNECTION, &slot, err);

    if (code != VIX_OK) {
        return code;
    }
    code = make_connection(params, access, &c, err);
    if (code != VIX_OK) {
        handle_give_back(HANDLE_CONNECTION, slot);
        return code;
    }
    *ret_handle = handle_publish(HANDLE_CONNECTION, slot, c, NULL);
    return VIX_OK;
}

static VixError connect_as(const char *name, const VixDiskLibConnectParams *params, const struct access *access,
                           VixDiskLibConnection *ret_connection)
{
    struct api_call call;
    VixError code = call_on_library(&call, name, NULL);

    if (ret_connection != NULL) {
        *ret_connection = NULL;
    } else if (code == VIX_OK) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "there is no place for the connection: the argument is NULL");
    }
    if (code == VIX_OK) {
        code = connect_and_publish(params, access, ret_connection, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Connect(const VixDiskLibConnectParams *connectParams, VixDiskLibConnection *connection)
{
    const struct access access = {.transports = "nbdssl:nbd"};
    return connect_as(__func__, connectParams, &access, connection);
}

VixError VixDiskLib_ConnectEx(const VixDiskLibConnectParams *connectParams, Bool readOnly, const char *snapshotRef,
                              const char *transportModes, VixDiskLibConnection *connection)
{
    const struct access access = {.read_only = readOnly != 0, .snapshot = snapshotRef, .transports = transportModes};
    return connect_as(__func__, connectParams, &access, connection);
}

/** Whether a pinned connection, or one of its disks, is used by a call or callback of this thread. */
static bool connection_used_here(const struct slot *slot)
{
    if (call_thread_uses(slot)) {
        return true;
    }
    for (uint32_t cursor = 0;;) {
        const void *disk = handle_next(HANDLE_DISK, &cursor, slot->object);
        if (disk == NULL) {
            return false;
        }
        const struct slot *disk_slot = handle_peek(HANDLE_DISK, disk);
        if (disk_slot != NULL && call_thread_uses(disk_slot)) {
            return true;
        }
    }
}

const struct connection *connection_of_disk(struct slot *slot)
{
    return atomic_load(&slot->owner);
}

VixError connection_close_slot(struct slot *slot, const char *name)
{
    struct connection *c = slot->object;
    VixError first = VIX_OK;

    for (uint32_t cursor = 0;;) {
        struct slot *disk_slot;
        VixError code = handle_close_next(HANDLE_DISK, &cursor, c, call_may_wait(), &disk_slot);
        if (code != VIX_OK) {
            call_report(name, NULL, code, NULL);
            handle_reopen(slot);
            return code;
        }
        if (disk_slot == NULL) {
            break;
        }
        bool closed;
        code = disk_close_slot(disk_slot, name, &closed);
        if (!closed) {
            handle_reopen(slot);
            return code;
        }
        first = first == VIX_OK ? code : first;
    }
    connection_free(c);
    handle_give_back(HANDLE_CONNECTION, slot);
    return first;
}

VixError VixDiskLib_Disconnect(VixDiskLibConnection connection)
{
    struct api_call call;
    struct slot *slot;

    call_begin(&call, __func__, NULL);
    VixError code = handle_pin(HANDLE_CONNECTION, connection, &slot);
    if (code == VIX_OK) {
        bool used = connection_used_here(slot);
        handle_unpin(slot);
        if (used) {
            return call_end(&call, err_set(&call.err, VIX_E_OBJECT_IS_BUSY,
                                           "called back by a call that uses the connection or one of its disks"));
        }
        code = handle_close_begin(HANDLE_CONNECTION, connection, call_may_wait(), &slot);
    }
    if (code != VIX_OK) {
        return call_end(&call, call_bad_handle(&call, HANDLE_CONNECTION, connection, code));
    }
    call.taken = slot;
    return call_end_reported(&call, connection_close_slot(slot, __func__));
}

/* ---- calls that matter on servers only ---- */

typedef VixError access_func(const struct remote_params *params, const char *identity, struct err *err);

/** How to reach the server of a call that does something to a virtual machine. *ret_local: there is none to reach, and
 * nothing to do on the local host. */
static VixError begin_on_machine(struct api_call *call, const char *name, const VixDiskLibConnectParams *params,
                                 VixDiskLibConnectParams *p, struct remote_params *ret_to, bool *ret_local)
{
    VixError code = call_on_library(call, name, NULL);

    *ret_local = true;
    if (code != VIX_OK) {
        return code;
    }
    read_params(p, params);
    if (!is_set(p->serverName)) {
        return check_local(p, &call->err);
    }
    *ret_local = false;
    return read_server(p, ret_to, &call->err);
}

static VixError on_machine(const char *name, const VixDiskLibConnectParams *params, const char *identity,
                           access_func *func)
{
    struct api_call call;
    VixDiskLibConnectParams p;
    struct remote_params to;
    bool local;
    VixError code = begin_on_machine(&call, name, params, &p, &to, &local);

    if (local) {
        return call_end(&call, code);
    }
    if (code == VIX_OK && identity != NULL && strlen(identity) > IDENTITY_MAX) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "an identity of %zu characters: the most is %u", strlen(identity),
                       IDENTITY_MAX);
        tell_server(&p, &call.err);
    }
    return call_end(&call, code == VIX_OK ? func(&to, identity, &call.err) : code);
}

VixError VixDiskLib_PrepareForAccess(const VixDiskLibConnectParams *connectParams, const char *identity)
{
    return on_machine(__func__, connectParams, identity, remote_prepare_access);
}

VixError VixDiskLib_EndAccess(const VixDiskLibConnectParams *connectParams, const char *identity)
{
    return on_machine(__func__, connectParams, identity, remote_end_access);
}

VixError VixDiskLib_Cleanup(const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp, uint32 *numRemaining)
{
    struct api_call call;
    VixDiskLibConnectParams p;
    struct remote_params to;
    bool local;
    uint32_t cleaned = 0;
    uint32_t remaining = 0;
    VixError code = begin_on_machine(&call, __func__, connectParams, &p, &to, &local);

    if (code == VIX_OK && !local) {
        code = remote_cleanup(&to, &cleaned, &remaining, &call.err);
    }
    if (code == VIX_OK && numCleanedUp != NULL) {
        *numCleanedUp = cleaned;
    }
    if (code == VIX_OK && numRemaining != NULL) {
        *numRemaining = remaining;
    }
    return call_end(&call, code);
}

/* ---- parameters that the library allocates ---- */

VixDiskLibConnectParams *VixDiskLib_AllocateConnectParams(void)
{
    struct params_box *box = alloc_zero(sizeof *box, NULL);

    if (box == NULL) {
        return NULL;
    }
    box->size = sizeof *box;
    return box_lend(box);
}

VixError VixDiskLib_GetConnectParams(const VixDiskLibConnection connection, VixDiskLibConnectParams **connectParams)
{
    struct api_call call;
    struct connection *c;
    struct params_box *box;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK && connectParams == NULL) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "there is no place for the parameters: the argument is NULL");
    }
    if (code == VIX_OK) {
        code = box_copy(c->params->u.params, &box, &call.err);
    }
    if (code == VIX_OK) {
        *connectParams = box_lend(box);
    }
    return call_end(&call, code);
}

void VixDiskLib_FreeConnectParams(VixDiskLibConnectParams *connectParams)
{
    if (connectParams == NULL) {
        return;
    }
    struct params_box *box = box_find(connectParams, true);
    if (box == NULL) {
        log_news("VixDiskLib_FreeConnectParams: %p was not allocated by this library", (void *)connectParams);
    }
    box_free(box);
}
