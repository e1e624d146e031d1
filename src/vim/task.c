/* SPDX-License-Identifier: BSD-3-Clause */
/* task.c - calls that only begin something: the task they give is asked for its state until it has ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "vim/vim_int.h"

#define POLL_FIRST_MS 100u /* own: between questions */
#define POLL_LAST_MS 2000u /* own: between questions */
/* A disk of terabytes that is filled with zeros takes hours; what takes longer has been forgotten by the server. */
#define TASK_MAX_MS (48u * 3600 * 1000) /* limit: ms of a task of a server */

static void wait_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static VixError task_failure(struct vim_session *s, const char *method, const struct xml_node *error, struct err *err)
{
    const struct xml_node *fault = xml_child(error, "fault");
    const char *message = xml_text(error, "localizedMessage");
    char type[64], text[400];

    vim_plain_text(fault != NULL && fault->type != NULL ? fault->type : "", type, sizeof type);
    vim_plain_text(message != NULL ? message : "", text, sizeof text);
    return err_set(err, soap_fault_code(type), "%s: %s: %s: %s", vim_peer(s), method,
                   type[0] != '\0' ? type : "the task failed", text);
}

/* One look at the task. The result is asked for only where it is wanted: not every server knows it. */
static VixError poll_task(struct vim_session *s, const char *method, const char *task, bool *ret_ended,
                          char **ret_result, struct err *err)
{
    static const char *const paths[] = {"info.state", "info.error", "info.result"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    VixError code = vim_properties(s, "Task", task, paths, ret_result != NULL ? 3 : 2, &reply, &object, err);

    if (code == VIX_OK) {
        const char *state = vim_property_text(object, "info.state");
        if (state == NULL) {
            code = err_set(err, VIX_E_INVALID_XML, "%s: %s: the server does not tell the task's state", vim_peer(s),
                           method);
        } else if (strcmp(state, "error") == 0) {
            code = task_failure(s, method, vim_property(object, "info.error"), err);
        } else {
            *ret_ended = strcmp(state, "success") == 0;
            if (*ret_ended && ret_result != NULL &&
                !vim_copy_text(vim_property_text(object, "info.result"), ret_result, err)) {
                code = VIX_E_OUT_OF_MEMORY;
            }
        }
    }
    vim_reply_free(&reply);
    return code;
}

VixError vim_call_task(struct vim_session *s, struct vim_call *call, char **ret_result, struct err *err)
{
    const char *method = call->method;
    CLEANUP_FREE char *task = NULL;
    bool ended = false;
    unsigned pause_ms = POLL_FIRST_MS;

    call->changes = true;
    VixError code = vim_call_text(s, call, "Task", &task, err);
    if (code == VIX_OK && task == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "%s: %s: the answer has no task", vim_peer(s), method);
    }
    for (uint64_t waited_ms = 0; code == VIX_OK; waited_ms += pause_ms) {
        code = poll_task(s, method, task, &ended, ret_result, err);
        if (code != VIX_OK || ended) {
            break;
        }
        if (waited_ms > TASK_MAX_MS) {
            return err_set(err, VIX_E_FAIL, "%s: %s: the task has not ended after %u hours", vim_peer(s), method,
                           TASK_MAX_MS / 3600000);
        }
        wait_ms(pause_ms);
        pause_ms = pause_ms * 2 < POLL_LAST_MS ? pause_ms * 2 : POLL_LAST_MS;
    }
    return code;
}
