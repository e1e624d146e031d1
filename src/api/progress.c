/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/progress.h"

void progress_percent(void *client_progress, int percent)
{
    struct client_progress *p = client_progress;

    if (p->func != NULL && percent > p->told) {
        p->told = percent;
        (void)p->func(p->data, percent);
    }
}

static bool take_bytes(void *client_progress, uint64_t done, uint64_t total)
{
    /* by parts, so that nothing overflows; 100 is told at the end, when the disk is complete */
    uint64_t percent = total == 0 ? 0 : (done / 100 >= total / 100 ? 99 : done / (total / 100 + 1));
    progress_percent(client_progress, (int)percent);
    return true;
}

struct ops_progress progress_bytes(struct client_progress *p)
{
    return (struct ops_progress){.func = p->func != NULL ? take_bytes : NULL, .ctx = p};
}

void progress_end(struct client_progress *p, VixError code)
{
    if (code == VIX_OK) {
        progress_percent(p, 100);
    }
}
