/* SPDX-License-Identifier: BSD-3-Clause */
/* changed.c - which areas of a disk have changed: QueryChangedDiskAreas, asked until the answers have covered the whole
 * range. An answer without areas is no end: the position alone tells it. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vim/vim_int.h"

struct area {
    uint64_t start, end; /* bytes */
};

static int by_start(const void *a, const void *b)
{
    const struct area *x = a;
    const struct area *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* An answer that cannot be: nothing of it is taken. */
static VixError bad_answer(struct vim_session *s, uint64_t pos, const char *what, struct err *err)
{
    return err_set(err, VIX_E_INVALID_XML, "%s: QueryChangedDiskAreas at %" PRIu64 ": %s", vim_peer(s), pos, what);
}

static VixError read_areas(struct vim_session *s, const struct xml_node *value, uint64_t pos, struct area **ret_areas,
                           size_t *ret_count, struct err *err)
{
    size_t count = 0;

    for (const struct xml_node *n = xml_child(value, "changedArea"); n != NULL; n = xml_next(n)) {
        count++;
    }
    CLEANUP_FREE struct area *areas = alloc_array(count, sizeof *areas, err);
    if (areas == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    count = 0;
    for (const struct xml_node *n = xml_child(value, "changedArea"); n != NULL; n = xml_next(n)) {
        struct area *a = &areas[count++];
        uint64_t length;
        if (!xml_number(n, "start", &a->start) || !xml_number(n, "length", &length) || length == 0 ||
            !checked_add(a->start, length, &a->end)) {
            return bad_answer(s, pos, "an area has no start or no length", err);
        }
        if (a->start < pos) {
            return bad_answer(s, pos, "an area begins before what was asked for", err);
        }
    }
    qsort(areas, count, sizeof *areas, by_start);
    *ret_areas = TAKE_PTR(areas);
    *ret_count = count;
    return VIX_OK;
}

/* Tells the areas, those that meet as one, and how far this answer went. */
static VixError tell_areas(const struct area *areas, size_t count, uint64_t next, uint64_t end, vim_area_func *func,
                           void *ctx, struct err *err)
{
    bool go_on = true;

    for (size_t i = 0; i < count && go_on;) {
        struct area a = areas[i++];
        while (i < count && areas[i].start <= a.end) {
            a.end = areas[i].end > a.end ? areas[i].end : a.end;
            i++;
        }
        a.end = a.end < end ? a.end : end;
        if (a.start < a.end) {
            go_on = func(ctx, a.start, a.end - a.start);
        }
    }
    if (!go_on || !func(ctx, next, 0)) {
        return err_set(err, VIX_E_CANCELLED, "the caller has stopped it");
    }
    return VIX_OK;
}

/* One question. */
static VixError ask(struct vim_session *s, const struct vim_changes *what, uint64_t pos, struct vim_reply *ret_reply,
                    uint64_t *ret_next, struct err *err)
{
    uint64_t start;
    uint64_t length;
    struct vim_call call = vim_call_begin("QueryChangedDiskAreas", "VirtualMachine", what->vm);

    if (what->snapshot != NULL && what->snapshot[0] != '\0') {
        xml_reference(&call.text, "snapshot", "VirtualMachineSnapshot", what->snapshot);
    }
    xml_element_number(&call.text, "deviceKey", (uint64_t)what->key);
    xml_element_number(&call.text, "startOffset", pos);
    xml_element(&call.text, "changeId", what->change_id);
    VixError code = vim_call_do(s, &call, ret_reply, err);
    if (code != VIX_OK) {
        return code;
    }
    const struct xml_node *value = xml_child(ret_reply->response, "returnval");
    if (!xml_number(value, "startOffset", &start) || !xml_number(value, "length", &length)) {
        return bad_answer(s, pos, "the answer does not tell which range it is about", err);
    }
    if (start != pos || length == 0 || !checked_add(pos, length, ret_next)) {
        return err_set(err, VIX_E_INVALID_XML,
                       "%s: QueryChangedDiskAreas at %" PRIu64 ": the answer is about %" PRIu64 " bytes at %" PRIu64,
                       vim_peer(s), pos, length, start);
    }
    return VIX_OK;
}

static VixError query_at(struct vim_session *s, const struct vim_changes *what, uint64_t *pos, vim_area_func *func,
                         void *ctx, struct err *err)
{
    struct vim_reply reply;
    CLEANUP_FREE struct area *areas = NULL;
    size_t count = 0;
    uint64_t next = 0;

    VixError code = ask(s, what, *pos, &reply, &next, err);
    if (code == VIX_OK) {
        code = read_areas(s, xml_child(reply.response, "returnval"), *pos, &areas, &count, err);
    }
    vim_reply_free(&reply);
    if (code == VIX_OK) {
        next = next < what->end ? next : what->end;
        code = tell_areas(areas, count, next, what->end, func, ctx, err);
    }
    if (code == VIX_OK) {
        *pos = next;
    }
    return code;
}

VixError vim_query_changed(struct vim_session *s, const struct vim_changes *what, vim_area_func *func, void *ctx,
                           struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t pos = what->start; pos < what->end && code == VIX_OK;) {
        code = query_at(s, what, &pos, func, ctx, err);
        if (code == VIX_E_INVALID_XML) {
            code = query_at(s, what, &pos, func, ctx, err);
        }
    }
    return code;
}
