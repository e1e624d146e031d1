/* SPDX-License-Identifier: BSD-3-Clause */
/* lease.c - the disk lease: while it is held the host leaves the blocks of a disk where they are, and tells where that
 * is. The calls are not in the published interface; no answer of a real server has been seen. So everything in an
 * answer is checked, and whatever does not fit is a failure of the lease, which nothing depends on. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

#define MANAGER_TYPE "HostDiskManager"
#define LEASE_TYPE "HostDiskManagerLease"
#define PAGE_UNITS                                                                                                     \
    (1u << 18) /* of the map in one answer: even if each has an extent of its own, it is no document too large */
#define PAGES_MAX 4096u              /* limit: answers that give the map of a lease */
#define ELEMENTS_MAX 256u            /* limit: files of a lease's map */
#define KEYS_MAX 1024u               /* limit: keys of metadata that a lease tells */
#define TIMEOUT_MAX (7u * 24 * 3600) /* limit: s that a lease lasts, whatever the host tells */

/* ---- calls ---- */

/** A call in one of the two namespaces that such calls may be in. */
static struct vim_call begin_call(const char *name_space, const char *method, const char *type, const char *value)
{
    struct vim_call call = {.method = method, .changes = true};

    soap_call_begin(&call.text, name_space, method, type, value);
    return call;
}

static VixError bad_answer(const struct vim_session *s, const char *method, const char *what, struct err *err)
{
    return err_set(err, VIX_E_INVALID_XML, "%s: %s: the answer has %s", vim_peer(s), method, what);
}

/* ---- the map ---- */

/** The arrays of a lease while they grow. */
struct filling {
    struct vim_session *s;
    struct vim_lease *lease;
    size_t extent_room, element_room;
};

static VixError find_element(struct filling *f, const struct xml_node *mapping, uint32_t *ret_index, struct err *err)
{
    struct vim_lease *l = f->lease;
    const char *type = mapping->type != NULL ? mapping->type : "";
    const char *name = xml_text(mapping, "element");
    bool is_volume = strcmp(type, "HostDiskBlockInfoVmfsMapping") == 0;

    if ((!is_volume && strcmp(type, "HostDiskBlockInfoScsiMapping") != 0) || name == NULL || name[0] == '\0') {
        return bad_answer(f->s, "LeaseMapDiskRegion", "a mapping that is of neither a LUN nor a volume", err);
    }
    for (size_t i = 0; i < l->element_count; i++) {
        if (l->elements[i].is_volume == is_volume && strcmp(l->elements[i].name, name) == 0) {
            *ret_index = (uint32_t)i;
            return VIX_OK;
        }
    }
    if (l->element_count == ELEMENTS_MAX) {
        return bad_answer(f->s, "LeaseMapDiskRegion", "too many LUNs", err);
    }
    if (l->elements == NULL && (l->elements = alloc_array(ELEMENTS_MAX, sizeof *l->elements, err)) == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    struct vim_lease_element *e = &l->elements[l->element_count];
    e->is_volume = is_volume;
    e->name = alloc_text(name, err);
    if (e->name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_index = (uint32_t)l->element_count++;
    return VIX_OK;
}

static VixError make_room(struct filling *f, struct err *err)
{
    struct vim_lease *l = f->lease;

    if (l->extent_count < f->extent_room) {
        return VIX_OK;
    }
    if (l->extent_count == VIM_LEASE_EXTENTS_MAX) {
        return bad_answer(f->s, "LeaseMapDiskRegion", "too many extents", err);
    }
    size_t room = f->extent_room > 0 ? f->extent_room * 2 : 64;
    struct vim_lease_extent *more = alloc_array(room, sizeof *more, err);
    if (more == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (l->extent_count > 0) {
        memcpy(more, l->extents, l->extent_count * sizeof *more);
    }
    free(l->extents);
    l->extents = more;
    f->extent_room = room;
    return VIX_OK;
}

/** A part of the disk that is being mapped, in units. */
struct page {
    uint64_t start, length;
};

static VixError add_extent(struct filling *f, const struct xml_node *node, uint32_t element, const struct page *page,
                           struct err *err)
{
    struct vim_lease_extent e = {.element = element};
    uint64_t end = 0;

    if (!xml_number(node, "logicalStart", &e.start) || !xml_number(node, "physicalStart", &e.physical) ||
        !xml_number(node, "length", &e.length) || e.length == 0 || !checked_add(e.start, e.length, &end) ||
        e.start < page->start || end > page->start + page->length) {
        return bad_answer(f->s, "LeaseMapDiskRegion", "an extent that is not within what was asked for", err);
    }
    e.read_only = xml_bool(node, "readOnly");
    e.to_be_zeroed = xml_bool(node, "lazyZero");
    VixError code = make_room(f, err);
    if (code == VIX_OK) {
        f->lease->extents[f->lease->extent_count++] = e;
    }
    return code;
}

/** What one answer has. A host may map less than it was asked for: *page is cut to that. */
static VixError read_page(struct filling *f, const struct xml_node *info, struct page *page, struct err *err)
{
    uint64_t start = page->start, length = page->length;
    VixError code = VIX_OK;

    if (info == NULL) {
        return bad_answer(f->s, "LeaseMapDiskRegion", "no map", err);
    }
    (void)xml_number(info, "mapStart", &start);
    (void)xml_number(info, "mapLength", &length);
    if (start != page->start || length == 0 || length > page->length) {
        return bad_answer(f->s, "LeaseMapDiskRegion", "another part of the disk than was asked for", err);
    }
    page->length = length;
    for (const struct xml_node *m = xml_child(info, "map"); m != NULL && code == VIX_OK; m = xml_next(m)) {
        uint32_t element = 0;
        code = find_element(f, m, &element, err);
        for (const struct xml_node *e = xml_child(m, "extent"); e != NULL && code == VIX_OK; e = xml_next(e)) {
            code = add_extent(f, e, element, page, err);
        }
    }
    return code;
}

static VixError map_page(struct filling *f, struct page *page, struct err *err)
{
    struct vim_reply reply;
    struct vim_call call = begin_call(f->lease->name_space, "LeaseMapDiskRegion", LEASE_TYPE, f->lease->moref);

    call.changes = false;
    xml_element_number(&call.text, "mapStart", page->start);
    xml_element_number(&call.text, "mapLength", page->length);
    VixError code = vim_call_do(f->s, &call, &reply, err);
    if (code == VIX_OK) {
        code = read_page(f, xml_child(reply.response, "returnval"), page, err);
    }
    vim_reply_free(&reply);
    return code;
}

static int by_start(const void *pa, const void *pb)
{
    const struct vim_lease_extent *a = pa;
    const struct vim_lease_extent *b = pb;

    return a->start < b->start ? -1 : a->start > b->start;
}

/** A place that two extents have is one that nobody knows. */
static VixError settle(struct filling *f, struct err *err)
{
    struct vim_lease *l = f->lease;

    if (l->extent_count > 0) {
        qsort(l->extents, l->extent_count, sizeof *l->extents, by_start);
    }
    for (size_t i = 1; i < l->extent_count; i++) {
        if (l->extents[i].start < l->extents[i - 1].start + l->extents[i - 1].length) {
            return bad_answer(f->s, "LeaseMapDiskRegion", "two extents for one place of the disk", err);
        }
    }
    return VIX_OK;
}

static VixError read_map(struct filling *f, struct err *err)
{
    VixError code = VIX_OK;
    uint64_t at = 0;

    for (unsigned pages = 0; at < f->lease->size && code == VIX_OK; pages++) {
        struct page page = {.start = at, .length = min_u64(f->lease->size - at, PAGE_UNITS)};
        if (pages == PAGES_MAX) {
            return bad_answer(f->s, "LeaseMapDiskRegion", "too small a part of the map", err);
        }
        code = map_page(f, &page, err);
        at += page.length;
    }
    return code == VIX_OK ? settle(f, err) : code;
}

/* ---- the lease ---- */

static void free_lease(struct vim_lease *l)
{
    for (size_t i = 0; i < l->key_count; i++) {
        free(l->keys[i]);
        free(l->values[i]);
    }
    for (size_t i = 0; i < l->element_count; i++) {
        free(l->elements[i].name);
    }
    free(l->keys);
    free(l->values);
    free(l->elements);
    free(l->extents);
    free(l->moref);
    free(l);
}

/** The keys of the disk database, without the "ddb." that they may begin with. */
static VixError fill_keys(struct vim_lease *l, const struct xml_node *info, struct err *err)
{
    l->keys = alloc_array(KEYS_MAX, sizeof *l->keys, err);
    l->values = alloc_array(KEYS_MAX, sizeof *l->values, err);
    if (l->keys == NULL || l->values == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *o = xml_child(info, "ddbOption"); o != NULL && l->key_count < KEYS_MAX;
         o = xml_next(o)) {
        const char *key = xml_text(o, "key");
        const char *value = xml_text(o, "value");
        if (key == NULL || value == NULL) {
            continue;
        }
        size_t i = l->key_count++;
        l->keys[i] = alloc_text(strncmp(key, "ddb.", 4) == 0 ? key + 4 : key, err);
        l->values[i] = alloc_text(value, err);
        if (l->keys[i] == NULL || l->values[i] == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return VIX_OK;
}

static VixError fill_lease(struct vim_session *s, struct vim_lease *l, const struct xml_node *info, struct err *err)
{
    const struct xml_node *block = xml_child(info, "blockInfo");
    const char *moref = xml_text(info, "lease");

    if (moref == NULL || moref[0] == '\0') {
        return bad_answer(s, "AcquireLeaseExt", "no lease", err);
    }
    l->moref = alloc_text(moref, err);
    if (l->moref == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (!xml_number(block, "size", &l->size) || l->size == 0) {
        return bad_answer(s, "AcquireLeaseExt", "no size of the disk", err);
    }
    (void)xml_number(block, "granularity", &l->granularity);
    (void)xml_number(block, "minBlockSize", &l->min_block_size);
    if (xml_number(info, "leaseTimeout", &l->timeout_s) && l->timeout_s > TIMEOUT_MAX) {
        l->timeout_s = TIMEOUT_MAX;
    }
    return fill_keys(l, info, err);
}

/** Whether a fault may be one of the namespace. */
static bool is_unknown_call(const struct vim_reply *reply)
{
    return reply->doc != NULL && reply->response == NULL &&
           (strcmp(reply->fault_type, "MethodNotFound") == 0 || strcmp(reply->fault_type, "InvalidRequest") == 0 ||
            reply->fault_type[0] == '\0');
}

static VixError acquire(struct vim_session *s, const char *manager, const char *snapshot, const char *path,
                        bool read_only, struct vim_lease *l, struct err *err)
{
    static const char *const spaces[] = {SOAP_VIM_NAMESPACE, SOAP_INTERNAL_NAMESPACE};
    VixError code = VIX_E_NOT_SUPPORTED;
    bool again = true;

    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0] && again; i++) {
        struct vim_reply reply;
        struct vim_call call = begin_call(spaces[i], "AcquireLeaseExt", MANAGER_TYPE, manager);
        xml_reference(&call.text, "snapshot", "VirtualMachineSnapshot", snapshot);
        xml_element(&call.text, "diskPath", path);
        xml_element_bool(&call.text, "readOnly", read_only);
        l->name_space = spaces[i];
        code = vim_call_do(s, &call, &reply, err);
        again = is_unknown_call(&reply);
        if (code == VIX_OK) {
            code = fill_lease(s, l, xml_child(reply.response, "returnval"), err);
        }
        vim_reply_free(&reply);
    }
    return code;
}

VixError vim_lease_take(struct vim_session *s, const char *snapshot, const char *path, bool read_only,
                        struct vim_lease **ret_lease, struct err *err)
{
    struct vim_lease *l = alloc_zero(sizeof *l, err);
    struct filling f = {.s = s, .lease = l};
    char *found = NULL;

    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = vim_internal_service(s, "diskManager", &found, err);
    CLEANUP_FREE char *manager = found;
    if (code == VIX_OK && manager == NULL) {
        code = err_set(err, VIX_E_NOT_SUPPORTED, "%s: the server gives no leases of disks: it has no " MANAGER_TYPE,
                       vim_peer(s));
    }
    if (code == VIX_OK) {
        code = acquire(s, manager, snapshot, path, read_only, l, err);
    }
    if (code == VIX_OK) {
        code = read_map(&f, err);
    }
    if (code != VIX_OK) {
        (void)vim_lease_release(s, l, NULL);
        return code;
    }
    *ret_lease = l;
    return VIX_OK;
}

VixError vim_lease_renew(struct vim_session *s, const struct vim_lease *lease, struct err *err)
{
    struct vim_call call = begin_call(lease->name_space, "RenewLease", LEASE_TYPE, lease->moref);
    return vim_call_plain(s, &call, err);
}

VixError vim_lease_release(struct vim_session *s, struct vim_lease *lease, struct err *err)
{
    VixError code = VIX_OK;

    if (lease == NULL) {
        return VIX_OK;
    }
    if (lease->moref != NULL) {
        struct vim_call call = begin_call(lease->name_space, "ReleaseLease", LEASE_TYPE, lease->moref);
        code = vim_call_plain(s, &call, err);
    }
    free_lease(lease);
    return code;
}
