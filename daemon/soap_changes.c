/* SPDX-License-Identifier: BSD-3-Clause */
/* QueryChangedDiskAreas: which areas of a disk the links above one hold, or all of them. An answer ends where it has
 * enough areas, or has looked at enough of the disk: the client asks on from there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "daemon/soap_int.h"
#include "disk/disk.h"

#define SECTOR UINT64_C(512)
#define AREAS_MAX 2000u                /* limit: changed areas of one answer, as with ESXi */
#define SPAN_MAX (UINT64_C(256) << 30) /* limit: bytes of a disk that one answer about changes is about */

static void bad_argument(struct call *c, const char *name)
{
    call_fault(c, "InvalidArgument", "A specified parameter was not correct: %s", name);
    if (c->fault_inner.bytes == NULL) {
        xml_element(&c->fault_inner, "invalidProperty", name);
    }
}

/** The disk of a key, opened for reading; NULL with the fault set. */
static struct disk *open_keyed(struct call *c, const struct machine *m, const struct machine_disks *disks)
{
    struct disk *d = NULL;
    struct err err;
    uint64_t key = 0;
    bool is_number = xml_number(c->soap.node, "deviceKey", &key);

    err_init(&err);
    for (size_t i = 0; is_number && i < disks->count; i++) {
        if ((uint64_t)disks->disks[i].key == key) {
            CLEANUP_FREE char *rooted = alloc_printf(&err, "/%s", disks->disks[i].path);
            if (rooted == NULL ||
                disk_open_local(m->ds->fs, rooted, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, &err) != VIX_OK) {
                call_failed(c, &err);
            }
            return d;
        }
    }
    bad_argument(c, "deviceKey");
    return NULL;
}

/* ---- the answer ---- */

/** Areas that meet are one. */
struct answer {
    struct xml_text areas;
    unsigned count;
    uint64_t start, end; /* the area that is not written yet; equal: there is none */
};

static void write_area(struct answer *a)
{
    if (a->end > a->start) {
        xml_raw(&a->areas, "<changedArea>");
        xml_element_number(&a->areas, "start", a->start);
        xml_element_number(&a->areas, "length", a->end - a->start);
        xml_raw(&a->areas, "</changedArea>");
        a->count++;
    }
    a->start = a->end = 0;
}

/** Whether a run is told of: what a link above depth holds; of what was ever written not the holes of flat files. */
static bool is_told(const struct disk_run *run, size_t depth, bool ever)
{
    return run->present && (ever ? !(run->zero && run->has_offset) : (size_t)run->depth < depth);
}

/** Looks at the disk from start on; *ret_end: so far the answer goes. */
static VixError collect(struct disk *d, uint64_t start, size_t depth, bool ever, struct answer *a, uint64_t *ret_end,
                        struct err *err)
{
    uint64_t end = min_u64(d->capacity * SECTOR, start + SPAN_MAX);
    uint64_t pos = start;

    while (pos < end && a->count < AREAS_MAX) {
        struct disk_run run;
        uint64_t sector = pos / SECTOR;
        VixError code = d->ops->map(d, sector, div_up(end, SECTOR) - sector, EXTENT_MAP_FLAT_HOLES, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        uint64_t next = min_u64((sector + run.nsectors) * SECTOR, end);
        if (is_told(&run, depth, ever)) {
            a->start = a->end == pos && a->end > a->start ? a->start : pos;
            a->end = next;
        } else {
            write_area(a);
        }
        pos = next;
    }
    write_area(a);
    *ret_end = pos;
    return VIX_OK;
}

static void put_answer(struct call *c, struct disk *d, uint64_t start, size_t depth, bool ever)
{
    struct answer a = {.count = 0};
    uint64_t end = start;
    struct err err;

    err_init(&err);
    if (collect(d, start, depth, ever, &a, &end, &err) != VIX_OK) {
        call_failed(c, &err);
    } else {
        xml_raw(&c->out, "<returnval>");
        xml_element_number(&c->out, "startOffset", start);
        xml_element_number(&c->out, "length", end - start);
        if (xml_done(&a.areas, NULL) == VIX_OK && a.areas.bytes != NULL) {
            xml_raw(&c->out, a.areas.bytes);
        }
        c->out.failed = c->out.failed || a.areas.failed;
        xml_raw(&c->out, "</returnval>");
    }
    xml_text_free(&a.areas);
}

static void answer_for(struct call *c, const struct machine *m, struct disk *d)
{
    const char *id = call_text(c, "changeId");
    uint64_t start = 0;
    size_t depth = 0;
    bool ever = strcmp(id, "*") == 0;

    if (!xml_number(c->soap.node, "startOffset", &start) || start >= d->capacity * SECTOR) {
        bad_argument(c, "startOffset");
    } else if (!ever && !tracking_find(m->ds, disk_local_chain(d), id, &depth)) {
        bad_argument(c, "changeId");
    } else {
        put_answer(c, d, start, depth, ever);
    }
}

/** The machine of the call, if the snapshot is its own, or none is named; NULL with the fault set. */
static const struct machine *asked_machine(struct call *c)
{
    const struct machine *m = call_machine(c, c->soap.this_value);
    const char *snapshot = call_text(c, "snapshot");

    if (m != NULL && snapshot[0] != '\0' && object_snapshot(c, snapshot) != m) {
        call_no_object(c, "VirtualMachineSnapshot", snapshot);
        return NULL;
    }
    return m;
}

void call_query_changed(struct call *c)
{
    const struct machine *m = asked_machine(c);
    struct machine_disks disks = {0};
    struct err err;

    err_init(&err);
    if (m == NULL) {
        return;
    }
    if (machine_read_disks(m, &disks, &err) != VIX_OK) {
        call_failed(c, &err);
        return;
    }
    struct disk *d = open_keyed(c, m, &disks);
    if (d != NULL) {
        answer_for(c, m, d);
        (void)disk_close(d, NULL);
    }
    machine_disks_done(&disks);
}
