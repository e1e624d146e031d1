/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks and folders made, moved, grown and removed by SOAP. They are done when the call returns: the task that it gives
 * has ended already. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/soap_int.h"
#include "ops/ops.h"

/** What a call works on. */
struct target {
    const struct datastore *ds;
    char *path;   /* in the datastore */
    char *rooted; /* the same with / in front */
};

static void target_done(struct target *t)
{
    free(t->path);
    free(t->rooted);
}

/** The place that an argument tells; false with the fault set: the user may not change it, or it cannot be. */
static bool take_target(struct call *c, const char *argument, struct target *t)
{
    const char *name = call_text(c, argument);
    struct err err;

    err_init(&err);
    *t = (struct target){0};
    VixError code = datastore_parse(&c->host->stores, name, &t->ds, &t->path, &err);
    if (code != VIX_OK) {
        call_fault(c, code == VIX_E_INVALID_ARG ? "InvalidDatastorePath" : fault_of_code(code), "%s", err.text);
        return false;
    }
    t->rooted = alloc_printf(NULL, "/%s", t->path);
    if (t->rooted == NULL) {
        c->out.failed = true;
    } else if (t->path[0] == '\0') {
        call_fault(c, "InvalidDatastorePath", "%.300s: names no file", name);
    } else if (!t->ds->writable || c->session.user->read_only) {
        call_no_permission(c, "Datastore", t->ds->moref, "Datastore.FileManagement",
                           c->session.user->read_only ? "the user may only read" : "the datastore is only read here");
    } else {
        return true;
    }
    target_done(t);
    return false;
}

static void tell(const struct call *c, const struct target *t, VixError code, const struct err *err)
{
    host_log(code == VIX_OK ? HOST_LOG_INFO : HOST_LOG_WARN, "%s: user %s: %s [%s] %.300s%s%s", c->peer,
             c->session.user->name, c->soap.method, t->ds->name, t->path, code == VIX_OK ? "" : ": ",
             code == VIX_OK ? "" : err->text);
}

/** Answers with a task that has ended so. */
static void answer_task(struct call *c, const struct target *t, VixError code, const struct err *err)
{
    struct session_task task = {.ended = (int64_t)time(NULL)};
    char value[32];

    tell(c, t, code, err);
    (void)snprintf(task.name, sizeof task.name, "%s", c->soap.method);
    if (code != VIX_OK) {
        (void)snprintf(task.fault, sizeof task.fault, "%s", fault_of_code(code));
        (void)snprintf(task.text, sizeof task.text, "%.*s", (int)sizeof task.text - 1, err->text);
    }
    if (!session_add_task(c->host->sessions, c->session.token, &task)) {
        call_fault(c, "NotAuthenticated", "The session is not authenticated.");
        return;
    }
    (void)snprintf(value, sizeof value, "haTask-%u", task.number);
    xml_reference(&c->out, "returnval", "Task", value);
}

/* ---- creating ---- */

static const struct {
    const char *word;
    VixDiskLibDiskType type;
} types[] = {
    {"thin", VIXDISKLIB_DISK_VMFS_THIN},
    {"thick", VIXDISKLIB_DISK_VMFS_FLAT},
    {"preallocated", VIXDISKLIB_DISK_VMFS_FLAT},
    {"eagerZeroedThick", VIXDISKLIB_DISK_VMFS_FLAT},
    {"sparse2Gb", VIXDISKLIB_DISK_SPLIT_SPARSE},
    {"thick2Gb", VIXDISKLIB_DISK_SPLIT_FLAT},
    {"sparseMonolithic", VIXDISKLIB_DISK_MONOLITHIC_SPARSE},
    {"flatMonolithic", VIXDISKLIB_DISK_MONOLITHIC_FLAT},
};

static VixDiskLibAdapterType adapter_of(const char *word)
{
    if (strcmp(word, "ide") == 0) {
        return VIXDISKLIB_ADAPTER_IDE;
    }
    return strcmp(word, "busLogic") == 0 ? VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC : VIXDISKLIB_ADAPTER_SCSI_LSILOGIC;
}

static VixError create(const struct call *c, const struct target *t, struct err *err)
{
    const char *word = call_text(c, "spec/diskType");
    uint64_t kib = 0, capacity;

    if (!xml_number(c->soap.node, "spec/capacityKb", &kib) || kib == 0 || !checked_mul(kib, 1024, &capacity)) {
        return err_set(err, VIX_E_INVALID_ARG, "a capacity of \"%.32s\" KiB cannot be",
                       call_text(c, "spec/capacityKb"));
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].word, word) == 0) {
            return host_create_disk(t->ds, t->path, types[i].type, adapter_of(call_text(c, "spec/adapterType")), 0,
                                    capacity, err);
        }
    }
    return err_set(err, VIX_E_NOT_SUPPORTED, "disks of type \"%.32s\" are not made here", word);
}

void call_create_virtual_disk(struct call *c)
{
    struct target t;
    struct err err;

    if (take_target(c, "name", &t)) {
        err_init(&err);
        VixError code = create(c, &t, &err);
        answer_task(c, &t, code, &err);
        target_done(&t);
    }
}

/* ---- removing, moving, growing ---- */

static VixError check_disk(const struct target *t, struct err *err)
{
    return is_part_of_disk(t->path) ? err_set(err, VIX_E_FILE_ACCESS_ERROR,
                                              "[%s] %.300s: is a part of a disk, not a disk", t->ds->name, t->path)
                                    : VIX_OK;
}

/** What goes from its name, or grows, must not be what another disk is based on. */
static VixError check_no_parent(const struct call *c, const struct target *t, struct err *err)
{
    bool is_parent = false;
    VixError code = check_disk(t, err);

    if (code == VIX_OK) {
        code = inventory_is_parent(&c->host->stores, t->ds, t->path, &is_parent, err);
    }
    if (code == VIX_OK && is_parent) {
        code = err_set(err, VIX_E_OBJECT_IS_BUSY, "[%s] %.300s: is the parent of another disk", t->ds->name, t->path);
    }
    return code;
}

static VixError delete (const struct call *c, const struct target *t, struct err *err)
{
    VixError code = check_no_parent(c, t, err);

    return code == VIX_OK ? ops_unlink(t->ds->fs, t->rooted, err) : code;
}

void call_delete_virtual_disk(struct call *c)
{
    struct target t;
    struct err err;

    if (take_target(c, "name", &t)) {
        err_init(&err);
        VixError code = delete (c, &t, &err);
        answer_task(c, &t, code, &err);
        target_done(&t);
    }
}

/** As vCenter does, a disk that is there is not replaced, whatever argument force says. */
static VixError move(const struct call *c, const struct target *from, const struct target *to, struct err *err)
{
    VixError code = check_no_parent(c, from, err);

    if (code == VIX_OK && from->ds != to->ds) {
        code = err_set(err, VIX_E_NOT_SUPPORTED, "[%s] %.300s: is moved within its datastore only", from->ds->name,
                       from->path);
    }
    if (code == VIX_OK) {
        code = host_check_disk_name(to->ds, to->path, err);
    }
    return code == VIX_OK ? ops_rename(from->ds->fs, from->rooted, to->rooted, err) : code;
}

void call_move_virtual_disk(struct call *c)
{
    struct target from, to;
    struct err err;

    if (!take_target(c, "sourceName", &from)) {
        return;
    }
    if (take_target(c, "destName", &to)) {
        err_init(&err);
        VixError code = move(c, &from, &to, &err);
        answer_task(c, &from, code, &err);
        target_done(&to);
    }
    target_done(&from);
}

static VixError extend(const struct call *c, const struct target *t, struct err *err)
{
    uint64_t kib = 0, capacity;
    VixError code = check_no_parent(c, t, err);

    if (code != VIX_OK) {
        return code;
    }
    if (!xml_number(c->soap.node, "newCapacityKb", &kib) || kib == 0 || !checked_mul(kib, 1024, &capacity)) {
        return err_set(err, VIX_E_INVALID_ARG, "a capacity of \"%.32s\" KiB cannot be", call_text(c, "newCapacityKb"));
    }
    return ops_grow(t->ds->fs, t->rooted, capacity / VIXDISKLIB_SECTOR_SIZE, true, err);
}

void call_extend_virtual_disk(struct call *c)
{
    struct target t;
    struct err err;

    if (take_target(c, "name", &t)) {
        err_init(&err);
        VixError code = extend(c, &t, &err);
        answer_task(c, &t, code, &err);
        target_done(&t);
    }
}

/* ---- folders ---- */

void call_make_directory(struct call *c)
{
    struct target t;
    struct err err;

    if (!take_target(c, "name", &t)) {
        return;
    }
    err_init(&err);
    VixError code = datastore_make_folder(t.ds, t.path, xml_bool(c->soap.node, "createParentDirectories"), &err);
    tell(c, &t, code, &err);
    if (code != VIX_OK) {
        call_failed(c, &err);
    }
    target_done(&t);
}
