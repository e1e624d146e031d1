/* SPDX-License-Identifier: BSD-3-Clause */
/* An SE sparse extent. */
#include "extent_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exercise_extent(data, size, "seSparse", "SESPARSE", 16, 8);
    return 0;
}
