/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections and their parameters.
 *
 * A program may have been compiled with any of three sizes of the parameter struct, and nothing tells which. So only
 * the part that all of them share is read, except from structs that this library allocated, which are kept in a list. A
 * struct of VixDiskLib_AllocateConnectParams holds strings of the program; one of VixDiskLib_GetConnectParams holds
 * ours, which lie in the same piece of memory: freeing is one step for both. Everything is copied while the call runs.
 */
#include "api/api.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"

#define PARAMS_COMMON_SIZE offsetof(VixDiskLibConnectParams, vimApiVer)
#define PARAMS_ROOM 256 /* what a program with a newer header may write to */
#define PARAMS_TEXTS 12

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
    if (is_set(p->serverName)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "server %s: this version opens local disks only", p->serverName);
    }
    if (is_set(p->vmxSpec)) {
        return err_set(err, VIX_E_INVALID_ARG, "virtual machine %s: a server name has to be given too", p->vmxSpec);
    }
    if (p->specType == VIXDISKLIB_SPEC_VSTORAGE_OBJECT && is_set(p->spec.vStorageObjSpec.id)) {
        return err_set(err, VIX_E_INVALID_ARG, "first-class disk %s: a server name has to be given too",
                       p->spec.vStorageObjSpec.id);
    }
    return VIX_OK;
}

/** For calls that do something on a server, and nothing on the local host. */
static VixError nothing_to_do_locally(const char *name, const VixDiskLibConnectParams *params)
{
    struct api_call call;
    VixDiskLibConnectParams p;
    VixError code = call_on_library(&call, name, NULL);

    if (code == VIX_OK) {
        read_params(&p, params);
        code = check_local(&p, &call.err);
    }
    return call_end(&call, code);
}

static VixError connect_local(const VixDiskLibConnectParams *params, bool read_only, VixDiskLibConnection *ret_handle,
                              struct err *err)
{
    struct params_box *box = NULL;
    struct slot *slot;
    VixDiskLibConnectParams p;

    read_params(&p, params);
    VixError code = check_local(&p, err);
    if (code == VIX_OK) {
        code = box_copy(p, &box, err);
    }
    struct connection *c = code == VIX_OK ? alloc_zero(sizeof *c, err) : NULL;
    if (c == NULL || handle_reserve(HANDLE_CONNECTION, &slot, err) != VIX_OK) {
        box_free(box);
        free(c);
        return err->code;
    }
    c->read_only = read_only;
    c->params = box;
    *ret_handle = handle_publish(HANDLE_CONNECTION, slot, c, NULL);
    return VIX_OK;
}

static VixError connect_as(const char *name, const VixDiskLibConnectParams *params, bool read_only,
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
        code = connect_local(params, read_only, ret_connection, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Connect(const VixDiskLibConnectParams *connectParams, VixDiskLibConnection *connection)
{
    return connect_as(__func__, connectParams, false, connection);
}

VixError VixDiskLib_ConnectEx(const VixDiskLibConnectParams *connectParams, Bool readOnly, const char *snapshotRef,
                              const char *transportModes, VixDiskLibConnection *connection)
{
    (void)snapshotRef;    /* of virtual machines only */
    (void)transportModes; /* local disks have one */
    return connect_as(__func__, connectParams, readOnly != 0, connection);
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

VixError connection_close_slot(struct slot *slot, const char *name)
{
    struct connection *c = slot->object;
    VixError first = VIX_OK;

    for (uint32_t cursor = 0;;) {
        struct slot *disk_slot;
        const void *disk = handle_next(HANDLE_DISK, &cursor, c);
        if (disk == NULL) {
            break;
        }
        if (handle_close_begin(HANDLE_DISK, disk, &disk_slot) != VIX_OK) {
            continue;
        }
        VixError code = disk_close_slot(disk_slot, name);
        if (code == VIX_E_OBJECT_IS_BUSY) {
            handle_reopen(slot);
            return code;
        }
        first = first == VIX_OK ? code : first;
    }
    box_free(c->params);
    free(c);
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
        code = handle_close_begin(HANDLE_CONNECTION, connection, &slot);
    }
    if (code != VIX_OK) {
        return call_end(&call, call_bad_handle(&call, HANDLE_CONNECTION, connection, code));
    }
    return call_end_quietly(&call, connection_close_slot(slot, __func__));
}

/* ---- calls that matter on servers only ---- */

VixError VixDiskLib_PrepareForAccess(const VixDiskLibConnectParams *connectParams, const char *identity)
{
    (void)identity;
    return nothing_to_do_locally(__func__, connectParams);
}

VixError VixDiskLib_EndAccess(const VixDiskLibConnectParams *connectParams, const char *identity)
{
    (void)identity;
    return nothing_to_do_locally(__func__, connectParams);
}

VixError VixDiskLib_Cleanup(const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp, uint32 *numRemaining)
{
    VixError code = nothing_to_do_locally(__func__, connectParams);

    if (code == VIX_OK && numCleanedUp != NULL) {
        *numCleanedUp = 0;
    }
    if (code == VIX_OK && numRemaining != NULL) {
        *numRemaining = 0;
    }
    return code;
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
