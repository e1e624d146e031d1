/* SPDX-License-Identifier: BSD-3-Clause */
/* kinds_util.h - for tests that go through the local disks which can be written anywhere: each type by itself, and
 * children. Include after cmocka.h. */
#ifndef VIXDISK_TESTS_KINDS_UTIL_H
#define VIXDISK_TESTS_KINDS_UTIL_H

#include "disk/disk.h"
#include "store/store.h"
#include "vmdk/chain.h"
#include "vmdk/create.h"

struct kind {
    const char *name;
    VixDiskLibDiskType type;
    VixDiskLibDiskType parent; /* UNKNOWN: none */
};

enum { KIND_SPARSE = 0, KIND_CHILD = 6, KIND_SPLIT_CHILD = 7 }; /* those that are named */

static const struct kind kinds[] = {
    {"monolithicSparse", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_UNKNOWN},
    {"twoGbMaxExtentSparse", VIXDISKLIB_DISK_SPLIT_SPARSE, VIXDISKLIB_DISK_UNKNOWN},
    {"monolithicFlat", VIXDISKLIB_DISK_MONOLITHIC_FLAT, VIXDISKLIB_DISK_UNKNOWN},
    {"twoGbMaxExtentFlat", VIXDISKLIB_DISK_SPLIT_FLAT, VIXDISKLIB_DISK_UNKNOWN},
    {"vmfs", VIXDISKLIB_DISK_VMFS_FLAT, VIXDISKLIB_DISK_UNKNOWN},
    {"vmfsThin", VIXDISKLIB_DISK_VMFS_THIN, VIXDISKLIB_DISK_UNKNOWN},
    {"child of sparse", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_SPARSE},
    {"split child of flat", VIXDISKLIB_DISK_SPLIT_SPARSE, VIXDISKLIB_DISK_MONOLITHIC_FLAT},
    {"redo log of thin", VIXDISKLIB_DISK_VMFS_SPARSE, VIXDISKLIB_DISK_VMFS_THIN},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/** Makes a disk; with a parent its child. */
static inline void make_disk(struct store_fs *fs, const char *path, VixDiskLibDiskType type, uint64_t capacity,
                             const char *parent)
{
    struct create_params p = {.type = type, .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, .capacity = capacity};
    struct disk *d = NULL;

    if (parent != NULL) {
        assert_int_equal(disk_open_local(fs, parent, VIXDISKLIB_FLAG_OPEN_READ_ONLY, NULL, &d, NULL), VIX_OK);
        p.parent_hint = store_path_base(parent);
        p.parent_cid = disk_local_chain(d)->links[0]->desc->cid;
        assert_int_equal(disk_close(d, NULL), VIX_OK);
    }
    assert_int_equal(vmdk_create(fs, path, &p, NULL, NULL, NULL), VIX_OK);
}

#endif
