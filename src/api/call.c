/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame of an exported call: pins, the thread's running calls, and the one report of a failure. */
#include "api/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static __thread struct api_call *running; /* innermost call of this thread */
static __thread char last_detail[ERR_TEXT_MAX];
static __thread bool last_is_retryable;

static const char *kind_name(enum handle_kind kind)
{
    return kind == HANDLE_DISK ? "disk" : "connection";
}

void call_begin(struct api_call *call, const char *name, const char *place)
{
    call->name = name;
    call->place = place;
    call->pin_count = 0;
    call->taken = NULL;
    call->innermost = &running;
    call->outer = *call->innermost;
    err_init(&call->err);
    *call->innermost = call;
}

static __attribute__((noinline, cold)) VixError not_started(struct api_call *call)
{
    return err_set(&call->err, VIX_E_DISK_NOINIT, "VixDiskLib_Init or VixDiskLib_InitEx has to be called first");
}

VixError call_bad_handle(struct api_call *call, enum handle_kind kind, const void *handle, VixError code)
{
    if (library_major() == 0) {
        return not_started(call);
    }
    if (code == VIX_E_OBJECT_IS_BUSY) {
        return err_set(&call->err, code, "another call has the %s for itself until it ends", kind_name(kind));
    }
    return err_set(&call->err, kind == HANDLE_DISK ? VIX_E_INVALID_HANDLE : VIX_E_DISK_INVALID_CONNECTION,
                   "0x%" PRIxPTR " is not an open %s", (uintptr_t)handle, kind_name(kind));
}

static inline VixError pin(struct api_call *call, enum handle_kind kind, const void *handle, void **ret_object)
{
    struct slot *slot;
    VixError code = handle_pin(kind, handle, &slot);

    if (__builtin_expect(code != VIX_OK, 0)) {
        return call_bad_handle(call, kind, handle, code);
    }
    call->pins[call->pin_count++] = slot;
    *ret_object = slot->object;
    return VIX_OK;
}

VixError call_on_library(struct api_call *call, const char *name, const char *place)
{
    struct slot *slot;

    call_begin(call, name, place);
    if (handle_pin(HANDLE_LIBRARY, library_handle(), &slot) != VIX_OK) {
        return not_started(call);
    }
    call->pins[call->pin_count++] = slot;
    return VIX_OK;
}

VixError call_add_connection(struct api_call *call, VixDiskLibConnection handle, struct connection **ret_connection)
{
    void *object = NULL;
    VixError code = pin(call, HANDLE_CONNECTION, handle, &object);

    if (code == VIX_OK) {
        *ret_connection = object;
    }
    return code;
}

VixError call_add_disk(struct api_call *call, VixDiskLibHandle handle, struct disk **ret_disk)
{
    void *object = NULL;
    VixError code = pin(call, HANDLE_DISK, handle, &object);

    if (code == VIX_OK) {
        *ret_disk = object;
    }
    return code;
}

VixError call_on_connection(struct api_call *call, const char *name, const char *place, VixDiskLibConnection handle,
                            struct connection **ret_connection)
{
    call_begin(call, name, place);
    return call_add_connection(call, handle, ret_connection);
}

VixError call_on_disk(struct api_call *call, const char *name, VixDiskLibHandle handle, struct disk **ret_disk)
{
    call_begin(call, name, NULL);
    VixError code = call_add_disk(call, handle, ret_disk);
    if (__builtin_expect(code == VIX_OK, 1)) {
        call->place = (*ret_disk)->path;
    }
    return code;
}

VixError call_need(struct api_call *call, const void *argument, const char *what)
{
    return argument != NULL ? VIX_OK
                            : err_set(&call->err, VIX_E_INVALID_ARG, "no %s is given: the argument is NULL", what);
}

static bool is_used_by(const struct api_call *call, const struct slot *slot)
{
    for (; call != NULL; call = call->outer) {
        if (call->taken != NULL && (slot == NULL || call->taken == slot)) {
            return true;
        }
        for (unsigned i = 0; i < call->pin_count; i++) {
            if (slot == NULL || call->pins[i] == slot) {
                return true;
            }
        }
    }
    return false;
}

bool call_thread_uses(const struct slot *slot)
{
    return is_used_by(running, slot);
}

bool call_outer_uses(const struct slot *slot)
{
    return running != NULL && is_used_by(running->outer, slot);
}

bool call_may_wait(void)
{
    for (const struct api_call *call = running; call != NULL; call = call->outer) {
        if (call->name == NULL) {
            return false; /* call_enter_callback */
        }
    }
    return true;
}

VixError call_take_disk(struct api_call *call, VixDiskLibHandle handle, struct slot **ret_slot)
{
    const struct slot *slot = handle_peek(HANDLE_DISK, handle);

    if (slot != NULL && call_thread_uses(slot)) {
        return err_set(&call->err, VIX_E_OBJECT_IS_BUSY, "called back by a request or call of the same disk");
    }
    VixError code = handle_close_begin(HANDLE_DISK, handle, call_may_wait(), ret_slot);
    if (code != VIX_OK) {
        return call_bad_handle(call, HANDLE_DISK, handle, code);
    }
    call->taken = *ret_slot;
    return VIX_OK;
}

void call_enter_callback(struct api_call *call, struct slot *slot)
{
    /* not a pin: closing waits for requests by itself */
    call_begin(call, NULL, NULL);
    call->pins[call->pin_count++] = slot;
}

void call_leave_callback(struct api_call *call)
{
    *call->innermost = call->outer;
}

/** The sentence without the place in front, where it has that; the code's text where there is no sentence. */
static const char *sentence_of(const struct err *err, VixError code, const char *place)
{
    if (err == NULL || err->code == VIX_OK || err->text[0] == '\0') {
        return err_text_of_code(code);
    }
    size_t n = place != NULL ? strlen(place) : 0;
    if (n > 0 && strncmp(err->text, place, n) == 0 && strncmp(err->text + n, ": ", 2) == 0) {
        return err->text + n + 2;
    }
    return err->text;
}

static void keep_detail(VixError code, const struct err *err, const char *sentence)
{
    last_is_retryable = err_may_pass(err, code);
    (void)snprintf(last_detail, sizeof last_detail, "%s", sentence);
}

__attribute__((cold)) void call_report(const char *name, const char *place, VixError code, const struct err *err)
{
    const char *sentence = sentence_of(err, code, place);
    const char *code_name = err_name_of_code(code);

    keep_detail(code, err, sentence);
    log_warn("%s: %.1024s%s%s (%s, %" PRIu64 ")", name, place != NULL ? place : "", place != NULL ? ": " : "", sentence,
             code_name != NULL ? code_name : "unknown code", (uint64_t)code);
}

static inline VixError leave(struct api_call *call, VixError code)
{
    for (unsigned i = 0; i < call->pin_count; i++) {
        handle_unpin(call->pins[i]);
    }
    *call->innermost = call->outer;
    return code;
}

VixError call_end(struct api_call *call, VixError code)
{
    if (__builtin_expect(code != VIX_OK && code != VIX_ASYNC, 0)) {
        call_report(call->name, call->place, code, &call->err);
    }
    return leave(call, code);
}

VixError call_end_quietly(struct api_call *call, VixError code)
{
    if (code != VIX_OK) {
        keep_detail(code, &call->err, sentence_of(&call->err, code, call->place));
    }
    return leave(call, code);
}

VixError call_end_reported(struct api_call *call, VixError code)
{
    return leave(call, code);
}

const char *call_last_detail(void)
{
    return last_detail;
}

bool call_last_is_retryable(void)
{
    return last_is_retryable;
}
