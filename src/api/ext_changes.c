/* SPDX-License-Identifier: BSD-3-Clause */
/* What vixDiskLibExt.h has for incremental copies: changed areas, snapshots, change tracking, privileges, the host of a
 * disk. */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

#define PRIVILEGES_MAX 1000u /* limit: privileges of one question */

static VixError need_server(const struct connection *c, const char *what, struct err *err)
{
    return c->remote != NULL
               ? VIX_OK
               : err_set(err, VIX_E_NOT_SUPPORTED, "the connection is to the local host, which has no %s", what);
}

/** Begins a call that is about a server. */
static VixError call_on_server(struct api_call *call, const char *name, const char *place, const char *what,
                               VixDiskLibConnection connection, struct remote **ret_remote)
{
    struct connection *c;
    VixError code = call_on_connection(call, name, place, connection, &c);

    if (code == VIX_OK) {
        code = need_server(c, what, &call->err);
    }
    if (code == VIX_OK) {
        *ret_remote = c->remote;
    }
    return code;
}

/** Copies a text into a client's buffer. */
static VixError give_text(const char *text, char *buffer, size_t size, struct err *err)
{
    size_t need = strlen(text) + 1;

    if (size < need) {
        return err_set(err, VIX_E_BUFFER_TOOSMALL, "%zu bytes are given for \"%s\", which takes %zu", size, text, need);
    }
    memcpy(buffer, text, need);
    return VIX_OK;
}

/* ---- changed areas ---- */

struct teller {
    VixDiskLibExt_AreaFunc func;
    void *data;
};

static bool tell(void *ctx, uint64_t start, uint64_t length)
{
    const struct teller *t = ctx;
    return t->func(t->data, start, length) != FALSE;
}

VixError VixDiskLibExt_QueryChangedAreas(VixDiskLibConnection connection, const char *path, const char *snapshotRef,
                                         const char *changeId, uint64 startBytes, uint64 endBytes,
                                         VixDiskLibExt_AreaFunc func, void *data)
{
    struct api_call call;
    struct remote *r = NULL;
    struct teller teller = {func, data};

    VixError code = call_on_server(&call, __func__, path, "changed areas", connection, &r);
    if (code == VIX_OK && (path == NULL || changeId == NULL || changeId[0] == '\0' || func == NULL)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "a path, a change ID and a function have to be given");
    }
    if (code == VIX_OK && endBytes != 0 && startBytes > endBytes) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "the range begins at %llu and ends at %llu",
                       (unsigned long long)startBytes, (unsigned long long)endBytes);
    }
    if (code == VIX_OK) {
        const struct remote_changes what = {
            .path = path, .snapshot = snapshotRef, .change_id = changeId, .start = startBytes, .end = endBytes};
        code = remote_query_changed(r, &what, tell, &teller, &call.err);
    }
    return code == VIX_E_CANCELLED ? call_end_quietly(&call, code) : call_end(&call, code);
}

VixError VixDiskLibExt_SetChangeTracking(VixDiskLibConnection connection, Bool on)
{
    struct api_call call;
    struct remote *r = NULL;

    VixError code = call_on_server(&call, __func__, NULL, "change tracking", connection, &r);
    if (code == VIX_OK) {
        code = remote_set_change_tracking(r, on != FALSE, &call.err);
    }
    return call_end(&call, code);
}

/* ---- privileges ---- */

VixError VixDiskLibExt_HasPrivileges(VixDiskLibConnection connection, const char *const *names, uint32 count,
                                     Bool *granted)
{
    struct api_call call;
    struct remote *r = NULL;
    CLEANUP_FREE bool *found = NULL;

    VixError code = call_on_server(&call, __func__, NULL, "privileges", connection, &r);
    if (code == VIX_OK && (names == NULL || granted == NULL || count == 0 || count > PRIVILEGES_MAX)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG,
                       "names, a place for the answers, and a count from 1 to %u are needed", PRIVILEGES_MAX);
    }
    for (uint32 i = 0; code == VIX_OK && i < count; i++) {
        code = call_need(&call, names[i], "name of a privilege");
    }
    if (code == VIX_OK) {
        found = alloc_array(count, sizeof *found, &call.err);
        code = found != NULL ? remote_has_privileges(r, names, count, found, &call.err) : VIX_E_OUT_OF_MEMORY;
    }
    for (uint32 i = 0; code == VIX_OK && i < count; i++) {
        granted[i] = found[i];
    }
    return call_end(&call, code);
}

/* ---- snapshots ---- */

VixError VixDiskLibExt_CreateSnapshot(VixDiskLibConnection connection, const char *name, const char *description,
                                      Bool quiesce, char *snapshotRef, size_t snapshotRefSize)
{
    struct api_call call;
    struct remote *r = NULL;
    CLEANUP_FREE char *made = NULL;

    VixError code = call_on_server(&call, __func__, NULL, "snapshots", connection, &r);
    if (code == VIX_OK && (name == NULL || name[0] == '\0' || snapshotRef == NULL)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "a name and a place for the reference have to be given");
    }
    if (code == VIX_OK) {
        code = remote_create_snapshot(r, name, description, quiesce != FALSE, &made, &call.err);
    }
    if (code == VIX_OK) {
        code = give_text(made, snapshotRef, snapshotRefSize, &call.err);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_RemoveSnapshot(VixDiskLibConnection connection, const char *snapshotRef)
{
    struct api_call call;
    struct remote *r = NULL;

    VixError code = call_on_server(&call, __func__, NULL, "snapshots", connection, &r);
    if (code == VIX_OK) {
        code = call_need(&call, snapshotRef, "reference of a snapshot");
    }
    if (code == VIX_OK) {
        code = remote_remove_snapshot(r, snapshotRef, &call.err);
    }
    return call_end(&call, code);
}

/* ---- the host of a disk ---- */

VixError VixDiskLibExt_FindDiskHost(VixDiskLibConnection connection, const char *path, char *host, size_t hostSize,
                                    uint32 *port)
{
    struct api_call call;
    struct remote *r = NULL;
    CLEANUP_FREE char *name = NULL;
    uint16_t number = 0;

    VixError code = call_on_server(&call, __func__, path, "hosts of disks", connection, &r);
    if (code == VIX_OK && (path == NULL || host == NULL || port == NULL)) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "a path, and places for host and port have to be given");
    }
    if (code == VIX_OK) {
        code = remote_endpoint(r, path, &name, &number, &call.err);
    }
    if (code == VIX_OK) {
        code = give_text(name, host, hostSize, &call.err);
    }
    if (code == VIX_OK) {
        *port = number;
    }
    return call_end(&call, code);
}
