/* SPDX-License-Identifier: BSD-3-Clause */
/* vixDiskLibExt.h - what vixdisk offers beyond the VixDiskLib interface: raw images as disks, conversion to any format,
 * maps with places, details of a chain. Conventions as in vixDiskLib.h; sizes and offsets are in bytes where a name
 * says Bytes, else in sectors of 512 bytes. A struct that begins with structSize must have it set to its sizeof. */
#ifndef VIXDISKLIBEXT_H
#define VIXDISKLIBEXT_H

#include "vixDiskLib.h"

#if defined(__cplusplus)
extern "C" {
#endif

/** The version of this library ("8.0.0"). Static. */
const char *VixDiskLibExt_Version(void);

/** The name of a code ("VIX_E_FAIL"), or NULL. Static. */
const char *VixDiskLibExt_ErrorName(VixError err);

/** Whether the cause of a code may pass by itself, so that a retry can help. */
Bool VixDiskLibExt_ErrorIsRetryable(VixError err);

/** The index-th known code; FALSE past the end. Texts are static. */
Bool VixDiskLibExt_ErrorTable(uint32 index, VixError *code, const char **name, const char **text);

/** The sentence that tells why the last failed call on this thread failed; "" if none. Valid until the next call on
 * this thread. */
const char *VixDiskLibExt_LastErrorDetail(void);

/** Sets a configuration value, as a line of the configuration file would; after InitEx, before disks are opened. */
VixError VixDiskLibExt_SetOption(const char *name, const char *value);

/** Opens a raw image or block device as a disk; flags and handle as of VixDiskLib_Open. A local connection. */
VixError VixDiskLibExt_OpenRaw(VixDiskLibConnection connection, const char *path, uint32 flags,
                               VixDiskLibHandle *diskHandle);

/** Opens a raw stream that is read once and in order (a pipe) as a source of VixDiskLibExt_Convert. The descriptor
 * stays the caller's. */
VixError VixDiskLibExt_OpenRawStream(VixDiskLibConnection connection, int fd, VixDiskLibSectorType capacity,
                                     VixDiskLibHandle *diskHandle);

/** Told of progress in bytes of the disk; FALSE asks to stop, the call then returns VIX_E_CANCELLED. */
typedef Bool (*VixDiskLibExt_ProgressFunc)(void *data, uint64 doneBytes, uint64 totalBytes);

/** How VixDiskLibExt_Convert makes its target. */
typedef struct {
    uint32 structSize;
    Bool raw;          /* a raw image or block device; else a VMDK of diskType */
    Bool overwrite;    /* replace an existing file */
    Bool keepExisting; /* raw: write into the existing file or device */
    Bool targetIsZero; /* raw: what exists reads as zeros already */
    VixDiskLibDiskType diskType;
    VixDiskLibAdapterType adapterType; /* 0: the source's, else lsilogic */
    uint16 hwVersion;                  /* 0: the source's, else the current one */
    int level;                         /* streamOptimized: 1 to 12; 0: 6; -1: stored */
    uint32 threads;                    /* 0: all cores */
    int fd;                            /* used if dstPath is NULL: pipe or file for raw or streamOptimized */
} VixDiskLibExt_ConvertParams;

/** Copies an open disk, its chain flattened, to a new local disk or raw image. */
VixError VixDiskLibExt_Convert(VixDiskLibHandle src, const char *dstPath, const VixDiskLibExt_ConvertParams *params,
                               VixDiskLibExt_ProgressFunc progress, void *data);

/** Compares two open disks, the shorter one padded with zeros. @firstDifferent first sector that differs, ~0 if none;
 * @numDifferent number of sectors that differ. */
VixError VixDiskLibExt_Compare(VixDiskLibHandle a, VixDiskLibHandle b, VixDiskLibExt_ProgressFunc progress, void *data,
                               VixDiskLibSectorType *firstDifferent, VixDiskLibSectorType *numDifferent);

/** The bytes that a conversion would need: as the disk is, and with every sector allocated. */
VixError VixDiskLibExt_Measure(VixDiskLibHandle diskHandle, VixDiskLibDiskType diskType, Bool raw,
                               uint64 *requiredBytes, uint64 *fullBytes);

/** A run of a disk's address space. */
typedef struct {
    uint64 startBytes;
    uint64 lengthBytes;
    uint64 offsetBytes; /* place in file, if hasOffset */
    const char *file;   /* the file that holds it, or NULL; valid until the disk is closed */
    int32 depth;        /* the link that holds it, 0: the top one */
    Bool present;       /* some link holds it */
    Bool zero;          /* reads as zeros */
    Bool data;          /* holds data */
    Bool hasOffset;     /* the bytes stand at offsetBytes as they are (not compressed) */
} VixDiskLibExt_Run;

/** Tells the runs of a range in order; the callback returns FALSE to stop. */
typedef Bool (*VixDiskLibExt_RunFunc)(void *data, const VixDiskLibExt_Run *run);
VixError VixDiskLibExt_Map(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                           VixDiskLibSectorType numSectors, VixDiskLibExt_RunFunc func, void *data);

/** One extent of a link. */
typedef struct {
    const char *file; /* NULL for ZERO */
    const char *type; /* word of the extent line */
    const char *access;
    uint64 numSectors;
    uint64 offsetSectors;
    uint64 grainSectors;   /* 0: none */
    uint64 fileBytes;      /* length of the file */
    uint64 allocatedBytes; /* space that the file takes */
    Bool compressed;
} VixDiskLibExt_Extent;

/** One link of a chain. */
typedef struct {
    const char *file; /* descriptor */
    const char *createType;
    const char *parentHint;      /* or NULL */
    const char *changeTrackFile; /* or NULL */
    uint32 cid;
    uint32 parentCid;
    uint32 numExtents;
    const VixDiskLibExt_Extent *extents;
} VixDiskLibExt_Link;

/** Details of an open disk; one piece of memory, freed by VixDiskLibExt_FreeDetails. */
typedef struct {
    const char *format;    /* "vmdk" or "raw" */
    uint64 capacity;       /* sectors */
    uint64 allocatedBytes; /* space that all files of the chain take */
    uint32 numLinks;
    const VixDiskLibExt_Link *links; /* [0]: top; none for raw */
} VixDiskLibExt_Details;

VixError VixDiskLibExt_GetDetails(VixDiskLibHandle diskHandle, VixDiskLibExt_Details **details);
void VixDiskLibExt_FreeDetails(VixDiskLibExt_Details *details);

#if defined(__cplusplus)
}
#endif

#endif /* VIXDISKLIBEXT_H */
