/* SPDX-License-Identifier: BSD-3-Clause */
/* vmfs_int.h - shared by the files of src/vmfs: the volume, its resource files, descriptors of files. */
#ifndef VIXDISK_VMFS_VMFS_INT_H
#define VIXDISK_VMFS_VMFS_INT_H

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "vmfs/vmfs.h"

#define VMFS_UUID_SIZE 16u
#define MIB (1u << 20)

/** A piece of the volume on one LUN. */
struct vmfs_segment {
    uint64_t off, len; /* in the volume */
    uint64_t lun_off;  /* from the LUN's beginning */
    size_t lun;
};

/** What the header of a resource file says. */
struct vmfs_resources {
    uint64_t count; /* of resources */
    uint32_t per_cluster;
    uint32_t clusters_per_group;
    uint32_t size; /* of a resource, bytes */
    uint32_t groups;
    uint64_t first_group; /* offset */
    uint64_t group_size;
    uint32_t child; /* offset of a second header, or 0 */
};

/** The descriptor of a file. */
struct vmfs_inode {
    uint64_t off; /* in the volume */
    uint32_t address, generation, type, zla, to_be_zeroed, lock_mode;
    uint64_t length, block_size, token;
    uint8_t *bytes; /* of the whole descriptor */
};

#define VMFS_TYPE_FOLDER 2u
#define VMFS_TYPE_FILE 3u
#define VMFS_TYPE_LINK 4u
#define VMFS_TYPE_SYSTEM 5u
#define VMFS_TYPE_RDM 6u

/* Places of block addresses (ZLA). */
#define VMFS_ZLA_BLOCK 1u
#define VMFS_ZLA_SUB_BLOCK 2u
#define VMFS_ZLA_POINTER 3u
#define VMFS_ZLA_POINTER2 5u
#define VMFS_ZLA_DOUBLE 0x10D0u
#define VMFS_ZLA_RESIDENT 0x10D1u

#define VMFS_PAGES 8u /* pointer blocks that are kept for a file */

struct vmfs_page {
    uint64_t address; /* of the block */
    uint8_t *bytes;
};

struct vmfs_file {
    struct vmfs *v;
    char *path;
    struct vmfs_inode inode;
    pthread_mutex_t lock; /* pages and hand; nothing is taken under it */
    struct vmfs_page pages[VMFS_PAGES];
    unsigned hand;
};

/** System files, by the number of their descriptor. */
enum vmfs_system {
    VMFS_ROOT = 0,
    VMFS_FBB = 1,
    VMFS_FDC = 2,
    VMFS_PBC = 3,
    VMFS_SBC = 4,
    VMFS_PB2 = 6,
    VMFS_SYSTEM_COUNT = 7,
};

struct vmfs {
    struct store *luns[VMFS_MAX_LUNS];
    size_t lun_count;
    struct vmfs_segment *segments; /* by off, without gaps */
    size_t segment_count;
    struct vmfs_info info;
    uint8_t volume_uuid[VMFS_UUID_SIZE]; /* of the LVM */
    bool v6;
    bool dense;            /* more sub-blocks in a cluster */
    uint32_t md;           /* block of metadata */
    uint32_t cluster_head; /* bytes of a cluster's header */
    uint32_t inode_size;
    unsigned large_shift;                        /* a large block is so many doublings of a block */
    uint32_t small_per_cluster;                  /* VMFS 6: file blocks */
    uint64_t fdc_off;                            /* where the first descriptor is */
    uint64_t pb2_off;                            /* descriptor of .pb2.sf elsewhere, or 0 */
    struct vmfs_file *system[VMFS_SYSTEM_COUNT]; /* NULL: not there */
    struct vmfs_resources resources[VMFS_SYSTEM_COUNT];
};

/** Records that metadata cannot be true; the code is VIX_E_DISK_INVALIDDISK. */
#define vmfs_corrupt(err, ...) err_set((err), VIX_E_DISK_INVALIDDISK, __VA_ARGS__)

/* ---- vmfs_partition.c ---- */

/** Where the partition of VMFS is on a LUN, and how long. */
VixError vmfs_find_partition(const struct vmfs_lun *lun, uint64_t *ret_off, uint64_t *ret_len, struct err *err);

/* ---- vmfs_lvm.c ---- */

/** Fills in lun..., segments, info.size and volume_uuid. */
VixError vmfs_assemble(struct vmfs *v, const struct vmfs_lun *luns, size_t count, struct err *err);

/* ---- vmfs_volume.c ---- */

/** Reads from the volume. */
VixError vmfs_volume_read(const struct vmfs *v, void *buf, uint64_t len, uint64_t off, const char *what,
                          struct err *err);

/* ---- vmfs_resource.c ---- */

/** Reads and checks a header of a system file. @at its offset in the file. */
VixError vmfs_read_resources(struct vmfs_file *f, uint64_t at, struct vmfs_resources *ret, struct err *err);
/** The offset in the system file of a resource. */
VixError vmfs_resource_off(const struct vmfs *v, enum vmfs_system which, uint64_t cluster, uint32_t resource,
                           uint64_t *ret_off, struct err *err);

/* ---- vmfs_inode.c ---- */

/** Reads the descriptor at an offset of the volume. */
VixError vmfs_read_inode(const struct vmfs *v, uint64_t off, struct vmfs_inode *ret_inode, struct err *err);
/** Reads the descriptor that an address names; its generation has to fit. */
VixError vmfs_find_inode(struct vmfs *v, uint32_t address, const uint32_t *generation, const char *path,
                         struct vmfs_inode *ret_inode, struct err *err);
/** A file of a descriptor, which is the file's then, also on failure. */
VixError vmfs_file_new(struct vmfs *v, const char *path, struct vmfs_inode *inode, struct vmfs_file **ret_file,
                       struct err *err);
/** Offset within the descriptor, and count, of its block addresses; place and room of data within it. */
uint32_t vmfs_addresses_at(const struct vmfs *v, uint32_t *ret_count);
uint32_t vmfs_resident_at(const struct vmfs *v, uint32_t *ret_room);

/* ---- vmfs_map.c ---- */

#define VMFS_NESTING 4u /* limit: system files to look into to find a place in another */

/** As vmfs_file_map and vmfs_file_read; @nesting counts the system files on the way. */
VixError vmfs_map_nested(struct vmfs_file *f, uint64_t off, uint64_t len, unsigned nesting, struct vmfs_run *ret_run,
                         struct err *err);
VixError vmfs_read_nested(struct vmfs_file *f, void *buf, uint64_t len, uint64_t off, unsigned nesting,
                          struct err *err);

/* ---- vmfs_pointer.c ---- */

/** The address for a place of a file, and for how many bytes from there on it is: to the end of the block, or of the
 * hole. */
VixError vmfs_find_address(struct vmfs_file *f, uint64_t off, unsigned nesting, uint64_t *ret_address,
                           uint64_t *ret_span, struct err *err);
/** Where a resource of a system file stands, *ret_len bytes of it together (at most len). @skip bytes into it. */
VixError vmfs_locate_resource(struct vmfs *v, enum vmfs_system which, uint64_t cluster, uint32_t resource,
                              uint64_t skip, uint64_t len, unsigned nesting, struct vmfs_run *ret_run, struct err *err);

/* ---- vmfs_address.c ---- */

#define VMFS_ADDRESS_TYPE 7u
#define VMFS_ADDRESS_BLOCK 1u
#define VMFS_ADDRESS_SUB_BLOCK 2u
#define VMFS_ADDRESS_POINTER 3u
#define VMFS_ADDRESS_INODE 4u
#define VMFS_ADDRESS_POINTER2 5u
#define VMFS_ADDRESS_LARGE 7u

/** What an address of a block of data says. */
struct vmfs_block {
    uint64_t off; /* in the volume */
    uint64_t size;
    enum vmfs_kind kind;
    bool shared;
};
/** Decodes an address of type block or large; the block is within the volume. */
VixError vmfs_decode_block(const struct vmfs *v, uint64_t address, struct vmfs_block *ret_block, struct err *err);
/** Decodes an address of type sub-block or pointer. */
void vmfs_decode_resource(const struct vmfs *v, uint64_t address, uint64_t *ret_cluster, uint32_t *ret_resource);

/* ---- vmfs_folder.c ---- */

/** The descriptor of a path. */
VixError vmfs_lookup(struct vmfs *v, const char *path, struct vmfs_inode *ret_inode, struct err *err);

#endif
