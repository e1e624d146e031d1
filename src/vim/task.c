/* SPDX-License-Identifier: BSD-3-Clause */
/* task.c - calls that only begin something: the task they give is asked for its state until it has ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vim/vim_int.h"

#define POLL_FIRST_MS 100u /* own: between questions */
#define POLL_LAST_MS 2000u /* own: between questions */
/* A disk of terabytes that is filled with zeros takes hours; what takes longer has been forgotten by the server. */
#define TASK_MAX_MS (48u * 3600 * 1000) /* limit: ms of a task of a server */

/* A server that cannot be asked is asked again for as long as so many calls may take: 6 minutes, if the configuration
 * says nothing, which is enough for a vCenter server to start. */
#define LOST_CALLS 3u /* own: calls */

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

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

/* Whether it was the way to the server that failed, which says nothing of the task. */
static bool is_lost(VixError code, const struct err *err)
{
    return err->retry != ERR_RETRY_NEVER &&
           (code == VIX_E_HOST_TCP_CONN_LOST || code == VIX_E_HOST_SERVER_NOT_AVAILABLE ||
            code == VIX_E_CANNOT_CONNECT_TO_HOST || code == VIX_E_HOST_NETWORK_CONN_REFUSED);
}

static VixError lost_failure(struct vim_session *s, const char *method, const char *task, const struct err *cause,
                             struct err *err)
{
    char name[64];

    vim_plain_text(task, name, sizeof name);
    return err_set(err, cause->code, "%s: %s: the task %s was begun and may go on at the server: %s", vim_peer(s),
                   method, name, cause->text);
}

/* Asks until the task has ended. Asking changes nothing, and is repeated if the server cannot be reached for a while.
 */
static VixError wait_for_task(struct vim_session *s, const char *method, const char *task, char **ret_result,
                              struct err *err)
{
    unsigned pause_ms = POLL_FIRST_MS;
    uint64_t lost_ms = 0;
    bool ended = false;

    for (uint64_t waited_ms = 0;; waited_ms += pause_ms) {
        struct err own;
        uint64_t began_ms = now_ms();

        err_init(&own);
        VixError code = poll_task(s, method, task, &ended, ret_result, &own);
        bool lost = code != VIX_OK && is_lost(code, &own);
        if (lost && lost_ms == 0) {
            log_news("%s; the task is asked for again", own.text);
        }
        lost_ms = lost ? lost_ms + (now_ms() - began_ms) + pause_ms : 0;
        if (lost && lost_ms > (uint64_t)LOST_CALLS * s->call_timeout_ms) {
            return lost_failure(s, method, task, &own, err);
        }
        if (code != VIX_OK && !lost) {
            if (err != NULL) {
                *err = own;
            }
            return code;
        }
        if (ended) {
            return VIX_OK;
        }
        if (waited_ms > TASK_MAX_MS) {
            return err_set(err, VIX_E_FAIL, "%s: %s: the task has not ended after %u hours", vim_peer(s), method,
                           TASK_MAX_MS / 3600000);
        }
        wait_ms(pause_ms);
        pause_ms = pause_ms * 2 < POLL_LAST_MS ? pause_ms * 2 : POLL_LAST_MS;
    }
}

VixError vim_call_task(struct vim_session *s, struct vim_call *call, char **ret_result, struct err *err)
{
    const char *method = call->method;
    CLEANUP_FREE char *task = NULL;

    call->changes = true;
    VixError code = vim_call_text(s, call, "Task", &task, err);
    if (code == VIX_OK && task == NULL) {
        return err_set(err, VIX_E_INVALID_XML, "%s: %s: the answer has no task", vim_peer(s), method);
    }
    return code == VIX_OK ? wait_for_task(s, method, task, ret_result, err) : code;
}
