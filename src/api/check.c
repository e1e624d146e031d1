/* SPDX-License-Identifier: BSD-3-Clause */
/* VixDiskLib_CheckRepair and VixDiskLibExt_Check: the check of a disk that is not open. */
#include "api/api.h"

#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "base/config.h"
#include "ops/check.h"

struct client_problems {
    VixDiskLibExt_ProblemFunc func;
    void *data;
};

static bool tell_problem(void *ctx, const struct check_report *r)
{
    const struct client_problems *client = ctx;
    VixDiskLibExt_Problem problem = {
        .code = r->code,
        .name = r->name,
        .message = r->message,
        .detail = r->text,
        .file = r->file,
        .offsetBytes = r->file_off,
        .startBytes = r->start,
        .lengthBytes = r->len,
        .count = r->count,
        .note = r->note,
        .repairable = r->repairable,
        .repaired = r->repaired,
    };

    return client->func == NULL || client->func(client->data, &problem) != 0;
}

/** Gives the client's struct as much as the client knows of it. */
static void fill_summary(const struct check_summary *s, VixDiskLibExt_CheckSummary *ret_summary)
{
    VixDiskLibExt_CheckSummary all = {
        .structSize = ret_summary->structSize,
        .numLinks = s->links,
        .numFiles = s->files,
        .numProblems = s->problems,
        .numRepaired = s->repaired,
        .numUnrepairable = s->unrepairable,
        .numNotes = s->notes,
        .numUntold = s->untold,
        .totalGrains = s->grains,
        .allocatedGrains = s->allocated_grains,
        .leakedBytes = s->leaked_bytes,
    };

    memcpy(ret_summary, &all, min_u64(ret_summary->structSize, sizeof all));
}

static uint32_t check_flags(uint32 flags)
{
    return ((flags & VIXDISKLIBEXT_CHECK_REPAIR) != 0 ? CHECK_REPAIR : 0) |
           ((flags & VIXDISKLIBEXT_CHECK_DEEP) != 0 ? CHECK_DEEP : 0) |
           ((flags & VIXDISKLIBEXT_CHECK_CHAIN) != 0 ? CHECK_CHAIN : 0) |
           (config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false) ? CHECK_OUTSIDE_OK : 0);
}

static VixError check(struct api_call *call, const struct connection *c, const char *path, uint32 flags,
                      struct client_problems *client, struct check_summary *ret_summary)
{
    VixError code = need_local(c, "disks are checked", &call->err);

    if (code == VIX_OK) {
        code = local_path_check(path, &call->err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if ((flags & VIXDISKLIBEXT_CHECK_REPAIR) != 0 && c->read_only) {
        return err_set(&call->err, VIX_E_FILE_READ_ONLY, "%s: the connection is for reading only, nothing is repaired",
                       path);
    }
    return ops_check(store_fs_local(), path, check_flags(flags), tell_problem, client, ret_summary, &call->err);
}

VixError VixDiskLib_CheckRepair(const VixDiskLibConnection connection, const char *filename, Bool repair)
{
    struct api_call call;
    struct connection *c;
    struct client_problems client = {.func = NULL};
    struct check_summary summary;

    VixError code = call_on_connection(&call, __func__, filename, connection, &c);
    if (code == VIX_OK) {
        code = check(&call, c, filename, repair ? VIXDISKLIBEXT_CHECK_REPAIR : 0, &client, &summary);
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_Check(VixDiskLibConnection connection, const char *path, uint32 flags,
                             VixDiskLibExt_ProblemFunc func, void *data, VixDiskLibExt_CheckSummary *summary)
{
    struct api_call call;
    struct connection *c;
    struct client_problems client = {.func = func, .data = data};
    struct check_summary seen = {0};

    VixError code = call_on_connection(&call, __func__, path, connection, &c);
    if (code == VIX_OK && summary != NULL && summary->structSize < sizeof summary->structSize) {
        code = err_set(&call.err, VIX_E_INVALID_ARG, "the structSize of the summary is not set");
        summary = NULL;
    }
    if (code == VIX_OK) {
        code = check(&call, c, path, flags, &client, &seen);
    }
    if (summary != NULL) {
        fill_summary(&seen, summary);
    }
    return call_end(&call, code);
}
