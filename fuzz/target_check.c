/* SPDX-License-Identifier: BSD-3-Clause */
/* Check and repair: a repair that says that all is repaired leaves what a second check finds sound and what can be
 * read; any other one leaves what is called unrepairable, never what another repair would go on with. */
#include "fuzz.h"

#include "ops/check.h"

/* Texts are sentences, places are where the files and the disk are. */
static bool told(void *ctx, const struct check_report *report)
{
    unsigned *count = ctx;

    FUZZ_ASSERT(report->name[0] != '\0' && report->text[0] != '\0' && report->file[0] != '\0', "problem %u",
                report->code);
    FUZZ_ASSERT(!report->repaired || report->repairable, "problem %u is repaired, but cannot be", report->code);
    (*count)++;
    return true;
}

static VixError check(struct store_fs *fs, uint32_t flags, struct check_summary *ret_summary, struct err *err)
{
    unsigned count = 0;

    err_init(err);
    VixError code = ops_check(fs, chain_names[0], flags | CHECK_DEEP | CHECK_CHAIN, told, &count, ret_summary, err);
    if (code == VIX_E_DISK_NEEDSREPAIR || code == VIX_E_DISK_CANTREPAIR) {
        FUZZ_ASSERT(count > 0 && ret_summary->problems > 0, "problems, but none is told");
    }
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_fs *fs = pieces_files(data, size, chain_names, CHAIN_FILES);
    struct check_summary summary;
    struct view view;
    struct err err;
    VixError first = check(fs, 0, &summary, &err);
    VixError repair = check(fs, CHECK_REPAIR, &summary, &err);
    VixError second = check(fs, 0, &summary, &err);

    if (first == VIX_OK || first == VIX_E_DISK_NEEDSREPAIR) {
        FUZZ_ASSERT(repair == VIX_OK, "first check %d, repair %d: %s", (int)first, (int)repair, err.text);
    }
    if (repair == VIX_OK) {
        FUZZ_ASSERT(second == VIX_OK, "repaired, then %d: %s", (int)second, err.text);
    }
    FUZZ_ASSERT(second != VIX_E_DISK_NEEDSREPAIR, "a repair has left what can be repaired: %s", err.text);
    disk_look(fs, chain_names[0], &view);
    disk_must_read(second == VIX_OK, &view);
    free(view.bytes);
    store_fs_mem_free(fs);
    return 0;
}
