/* SPDX-License-Identifier: BSD-3-Clause */
/* A redo log (COWD, vmfsSparse). */
#include "extent_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exercise_extent(data, size, "vmfsSparse", "VMFSSPARSE", 12, 4);
    return 0;
}
