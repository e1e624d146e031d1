/* SPDX-License-Identifier: BSD-3-Clause */
/* A monolithic sparse disk: header, embedded descriptor, directories, tables, grains. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"x.vmdk"};
    struct store_fs *fs = pieces_files(data, size, names, 1);

    disk_exercise(fs, names[0]);
    store_fs_mem_free(fs);
    return 0;
}
