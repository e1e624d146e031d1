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

/** Whether the cause of a code may pass by itself, so that a retry can help. Of a failure that has just come
 * VixDiskLibExt_LastErrorIsRetryable knows more. */
Bool VixDiskLibExt_ErrorIsRetryable(VixError err);

/** The index-th known code; FALSE past the end. Texts are static. */
Bool VixDiskLibExt_ErrorTable(uint32 index, VixError *code, const char **name, const char **text);

/** The sentence that tells why the last failed call on this thread failed; "" if none. Valid until the next call on
 * this thread. */
const char *VixDiskLibExt_LastErrorDetail(void);

/** Whether a retry can help after the failure that VixDiskLibExt_LastErrorDetail tells of. As ErrorIsRetryable of its
 * code, but FALSE where the cause is known to stay: VIX_E_CANNOT_CONNECT_TO_HOST for a certificate or thumbprint that
 * is refused; and TRUE where it may pass: VIX_E_HOST_NETBLKDEV_HANDSHAKE for a connection that was lost while a disk
 * was being opened. */
Bool VixDiskLibExt_LastErrorIsRetryable(void);

/** Sets a configuration value, as a line of the configuration file would; after InitEx, before disks are opened. */
VixError VixDiskLibExt_SetOption(const char *name, const char *value);

/** Opens a raw image or block device as a disk; flags and handle as of VixDiskLib_Open. A local connection. */
VixError VixDiskLibExt_OpenRaw(VixDiskLibConnection connection, const char *path, uint32 flags,
                               VixDiskLibHandle *diskHandle);

/** Opens a stream that is read once and in order (a pipe) as a source of VixDiskLibExt_Convert: raw bytes of a disk of
 * that capacity, which has to end there (else VIX_E_DISK_OUTOFRANGE at the last sector), or, with capacity 0, a
 * streamOptimized VMDK, which tells its capacity. The file descriptor stays the caller's. */
VixError VixDiskLibExt_OpenRawStream(VixDiskLibConnection connection, int fd, VixDiskLibSectorType capacity,
                                     VixDiskLibHandle *diskHandle);

/** Opens, for reading, what is left of a disk: a streamOptimized file that was cut short or whose tables are damaged,
 * by the markers of its grains; a file without any header as the data of a flat disk whose descriptor is lost. What is
 * not there reads as zeros. A local connection. */
VixError VixDiskLibExt_OpenSalvage(VixDiskLibConnection connection, const char *path, VixDiskLibHandle *diskHandle);

#define VIXDISKLIBEXT_SALVAGE_DAMAGED 1024

/** What was found of a streamOptimized file, and what was lost. */
typedef struct {
    uint32 structSize;
    uint32 grainSectors;
    uint64 grains;        /* that are there */
    uint64 endSector;     /* of the disk: behind the last of them; whether more was there cannot be known */
    uint64 skippedBytes;  /* of the file, that are no records */
    uint64 damagedGrains; /* that were read so far and are damaged: they read as zeros */
    uint64 damagedSectors[VIXDISKLIBEXT_SALVAGE_DAMAGED]; /* first sector of each, as far as there is room */
    uint64 wrongSizes;   /* records whose size field is damaged, and their data is not: nothing of them is lost */
    uint64 strayRecords; /* that name a grain which another one holds, or one out of order, and do not count */
} VixDiskLibExt_Salvage;

/** Tells of a disk of VixDiskLibExt_OpenSalvage what is known of it so far: ask after the conversion. */
VixError VixDiskLibExt_SalvageReport(VixDiskLibHandle diskHandle, VixDiskLibExt_Salvage *salvage);

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

#define VIXDISKLIBEXT_SLOWEST 8

/** A read or write of a disk by the library. */
typedef struct {
    Bool write;
    uint64 startBytes;
    uint64 lengthBytes;
    uint64 nanoseconds;
} VixDiskLibExt_Request;

/** What the process was at while it was recorded. A stage is busy while at least one thread is at it. */
typedef struct {
    uint32 structSize;
    uint32 numSlowest;
    uint64 elapsedNs;
    uint64 readNs;       /* busy reading files and devices of this machine */
    uint64 networkNs;    /* busy waiting for a server: its disks, and the way to them and back */
    uint64 codecNs;      /* busy compressing and inflating grains */
    uint64 writeNs;      /* busy writing */
    uint64 bytesRead;    /* of disks */
    uint64 bytesWritten; /* to disks; of streamOptimized files what their records take */
    uint64 retries;      /* connections made again */
    VixDiskLibExt_Request slowest[VIXDISKLIBEXT_SLOWEST]; /* the slowest first */
} VixDiskLibExt_Activity;

/** Begins to record what all calls of this process spend their time on (what was recorded before is forgotten), or
 * ends it. */
VixError VixDiskLibExt_RecordActivity(Bool on);

/** Tells what has been recorded; also while it goes on. */
VixError VixDiskLibExt_GetActivity(VixDiskLibExt_Activity *activity);

/** Compares two open disks, the shorter one padded with zeros. @firstDifferent first sector that differs, ~0 if none;
 * @numDifferent number of sectors that differ. */
VixError VixDiskLibExt_Compare(VixDiskLibHandle a, VixDiskLibHandle b, VixDiskLibExt_ProgressFunc progress, void *data,
                               VixDiskLibSectorType *firstDifferent, VixDiskLibSectorType *numDifferent);

/** The bytes that a conversion would need: as the disk is, and with every sector allocated. */
VixError VixDiskLibExt_Measure(VixDiskLibHandle diskHandle, VixDiskLibDiskType diskType, Bool raw,
                               uint64 *requiredBytes, uint64 *fullBytes);

/** Merges a closed child disk into its parent and removes the child's files. At any moment the chain, or after it the
 * parent alone, reads the same; a merge that was cut short can be done again. Until then other children of the parent,
 * in other folders, read what was merged so far.
 * Return: VIX_E_DISK_PARTIALCHAIN while another child of the parent lies beside it; VIX_E_INCORRECT_FILE_TYPE for a
 * symbolic link. */
VixError VixDiskLibExt_Commit(VixDiskLibConnection connection, const char *childPath,
                              VixDiskLibExt_ProgressFunc progress, void *data);

/** As VixDiskLibExt_Convert, to a local path or a disk on the datastore of a connection to a server. There diskType
 * VMFS_THIN and the sparse types make a thin disk, others a thick one; with keepExisting the disk that is there is
 * written over (targetIsZero: it reads as zeros already), else it is made, with overwrite in the place of an old one as
 * VixDiskLib_Clone does it.
 * @flags compression of the way to the server, VIXDISKLIB_FLAG_OPEN_COMPRESSION_. */
VixError VixDiskLibExt_ConvertTo(VixDiskLibHandle src, VixDiskLibConnection dstConnection, const char *dstPath,
                                 uint32 flags, const VixDiskLibExt_ConvertParams *params,
                                 VixDiskLibExt_ProgressFunc progress, void *data);

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

/** Told of a run; FALSE stops the map. */
typedef Bool (*VixDiskLibExt_RunFunc)(void *data, const VixDiskLibExt_Run *run);

/** Tells the runs of a range in order: they follow each other without gaps. */
VixError VixDiskLibExt_Map(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                           VixDiskLibSectorType numSectors, VixDiskLibExt_RunFunc func, void *data);

/** Gives the space of a range back: the data that the top link holds becomes holes of its files and reads as zeros;
 * what the parents hold stays. A grain of a sparse type keeps its place in its file, and is written there again. Of no
 * sectors: tells whether the disk can do that at all.
 * Return: VIX_E_NOT_SUPPORTED for a disk on a server, a device, a disk that is written in order, and where the file
 * system makes no holes. */
VixError VixDiskLibExt_Discard(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                               VixDiskLibSectorType numSectors);

/** Makes a range read as zeros, with as little space as can be: what is not there stays so, data is given back as by
 * VixDiskLibExt_Discard, and what cannot be, or is a parent's, is written over. Where a parent is not open (a child
 * opened with VIXDISKLIB_FLAG_OPEN_SINGLE_LINK), what is not there is written over, too, as by VixDiskLib_Write. */
VixError VixDiskLibExt_WriteZeros(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                  VixDiskLibSectorType numSectors);

/** The bytes that the data of a range takes in the files: compressed grains (streamOptimized) as they are stored, with
 * their heads and padding, a part of one its share; other data as it is. A local disk that is open for reading. */
VixError VixDiskLibExt_StoredBytes(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                   VixDiskLibSectorType numSectors, uint64 *storedBytes);

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

/** Details of an open disk; one piece of memory, freed by VixDiskLibExt_FreeDetails. Of a disk on a server is known
 * what the hardware of its machine tells: file, parentHint (the next file) of each link, cid of the top one (0: not
 * told), and thin; all else is 0 or NULL, and a disk that is no machine's has no links. */
typedef struct {
    const char *format;    /* "vmdk" or "raw" */
    uint64 capacity;       /* sectors */
    uint64 allocatedBytes; /* space that all files of the chain take */
    uint32 numLinks;
    const VixDiskLibExt_Link *links; /* [0]: top; none for raw */
    Bool thin;                       /* a disk on a server: its space is taken as it is written */
    Bool hasWriter; /* QEMU has the top link open for writing, or no lock tells: its cid may not tell of later writes */
} VixDiskLibExt_Details;

/** Tells the details of an open disk. @details set to a struct for VixDiskLibExt_FreeDetails. */
VixError VixDiskLibExt_GetDetails(VixDiskLibHandle diskHandle, VixDiskLibExt_Details **details);

/** Frees what VixDiskLibExt_GetDetails made. NULL is harmless. */
void VixDiskLibExt_FreeDetails(VixDiskLibExt_Details *details);

/* How VixDiskLibExt_Check looks. */
#define VIXDISKLIBEXT_CHECK_REPAIR (1 << 0) /* repair what can be repaired without the risk of losing anything */
#define VIXDISKLIBEXT_CHECK_DEEP (1 << 1)   /* inflate the data of every compressed grain */
#define VIXDISKLIBEXT_CHECK_CHAIN (1 << 2)  /* the files of all parents too */

/** A problem that a check found. Texts are valid during the call. */
typedef struct {
    uint32 code;         /* number of its kind */
    const char *name;    /* word for its kind: "grain-overlap" */
    const char *message; /* what that is */
    const char *detail;  /* what was found here, with figures */
    const char *file;
    uint64 offsetBytes; /* place in the file; ~0: none */
    uint64 startBytes;  /* part of the disk that is affected */
    uint64 lengthBytes; /* 0: none, or not known */
    uint64 count;       /* problems of this kind, one behind the other on the disk, that are told as this one */
    Bool note;          /* harms nobody */
    Bool repairable;    /* without the risk of losing anything */
    Bool repaired;
} VixDiskLibExt_Problem;

/** Told of each problem; FALSE stops the check. */
typedef Bool (*VixDiskLibExt_ProblemFunc)(void *data, const VixDiskLibExt_Problem *problem);

/** What a check has seen. */
typedef struct {
    uint32 structSize;
    uint32 numLinks;
    uint32 numFiles;
    uint64 numProblems;     /* notes are not counted here */
    uint64 numRepaired;     /* problems and notes */
    uint64 numUnrepairable; /* problems */
    uint64 numNotes;
    uint64 numUntold; /* counted above, but too many of one file to be told one by one */
    uint64 totalGrains;
    uint64 allocatedGrains;
    uint64 leakedBytes; /* of files, used by nothing */
} VixDiskLibExt_CheckSummary;

/** Checks a disk that is not open, and repairs it if flags (VIXDISKLIBEXT_CHECK_) say so. VIX_OK: sound, or all that
 * was found is repaired; VIX_E_DISK_NEEDSREPAIR: all problems can be repaired; VIX_E_DISK_CANTREPAIR: some cannot; any
 * other code: the check could not be done. @func and @summary may be NULL. */
VixError VixDiskLibExt_Check(VixDiskLibConnection connection, const char *path, uint32 flags,
                             VixDiskLibExt_ProblemFunc func, void *data, VixDiskLibExt_CheckSummary *summary);

/* ---- servers ---- */

/** The fingerprints of the certificate that a server shows, whoever it is: hex pairs joined by colons. @port 0: 443;
 * @timeoutMs 0: 10 s; @sha1 at least 60 bytes, @sha256 at least 96, each may be NULL. Nothing is sent to the server
 * but the TLS greeting, and no connection is needed. VIX_E_BUFFER_TOOSMALL. */
VixError VixDiskLibExt_Thumbprint(const char *serverName, uint32 port, uint32 timeoutMs, char *sha1, size_t sha1Size,
                                  char *sha256, size_t sha256Size);

/** Bytes on the wire so far of an open disk, framing included; 0 of a local one. Any pointer may be NULL. */
VixError VixDiskLibExt_GetTraffic(VixDiskLibHandle diskHandle, uint64 *bytesIn, uint64 *bytesOut);

/** As VixDiskLibExt_GetTraffic, of all disks of a connection, those that are closed too. */
VixError VixDiskLibExt_GetConnectionTraffic(VixDiskLibConnection connection, uint64 *bytesIn, uint64 *bytesOut);

/** A disk of a virtual machine. Texts that a server does not tell are NULL. */
typedef struct {
    const char *file;  /* "[datastore] dir/x.vmdk": what VixDiskLib_Open takes; that of the top link */
    const char *label; /* "Hard disk 1" */
    const char *controllerType;
    const char *backingType;
    const char *diskMode;
    const char *uuid;
    const char *changeId;
    const char *const *files; /* top link first, then its parents */
    uint32 numFiles;
    int32 key;
    int32 unitNumber;
    uint64 capacityBytes;
    Bool thin;
    Bool sharing; /* several machines may write */
} VixDiskLibExt_VmDisk;

/** A snapshot, in the order of the tree. */
typedef struct {
    const char *moref; /* what VixDiskLib_ConnectEx takes as snapshotRef */
    const char *name;
    const char *created; /* as the server writes times */
    uint32 depth;        /* 0: a root */
    Bool current;
} VixDiskLibExt_Snapshot;

/** A virtual machine. */
typedef struct {
    const char *moref; /* "moref=" and this is a vmxSpec */
    const char *name;
    const char *host;
    const char *powerState;
    const char *vmxPath;
    const char *hardwareVersion; /* "vmx-13" */
    Bool isTemplate;
    Bool noSnapshots; /* the server says that it makes none of this machine */
    Bool changeTracking;
    uint32 numDisks;
    uint32 numSnapshots;
    const VixDiskLibExt_VmDisk *disks;
    const VixDiskLibExt_Snapshot *snapshots;
} VixDiskLibExt_Vm;

typedef struct {
    const char *moref;
    const char *name;
    const char *type;
    const char *url;
    uint64 capacityBytes;
    uint64 freeBytes;
    Bool accessible;
} VixDiskLibExt_Datastore;

/** What a server has; one piece of memory, freed by VixDiskLibExt_FreeInventory. */
typedef struct {
    const char *serverName;  /* "host:port" */
    const char *productName; /* "VMware vCenter Server 8.0.1 build-..." */
    const char *apiVersion;
    Bool isVCenter;
    uint32 numVms;
    uint32 numDatastores;
    const VixDiskLibExt_Vm *vms;
    const VixDiskLibExt_Datastore *datastores;
} VixDiskLibExt_Inventory;

/** Lists the machines and datastores that the user of a connection can see. VIX_E_NOT_SUPPORTED on a local connection.
 */
VixError VixDiskLibExt_ListInventory(VixDiskLibConnection connection, VixDiskLibExt_Inventory **inventory);

/** Frees what VixDiskLibExt_ListInventory made. NULL is harmless. */
void VixDiskLibExt_FreeInventory(VixDiskLibExt_Inventory *inventory);

/** The machine of a connection with its snapshots; one piece of memory, freed by VixDiskLibExt_FreeMachine.
 * @snapshotRef NULL, or the snapshot as of which its disks are told. VIX_E_NOT_SUPPORTED on a local connection;
 * VIX_E_OBJECT_NOT_FOUND: there is no such snapshot. */
VixError VixDiskLibExt_GetMachine(VixDiskLibConnection connection, const char *snapshotRef, VixDiskLibExt_Vm **vm);

/** Frees what VixDiskLibExt_GetMachine made. NULL is harmless. */
void VixDiskLibExt_FreeMachine(VixDiskLibExt_Vm *vm);

/** Whether the user of a connection has privileges on its machine. @names as the server has them,
 * "VirtualMachine.Provisioning.GetVmFiles"; @count at most 1000; @granted as many. VIX_E_NOT_SUPPORTED on a local
 * connection, and of a server that does not tell. */
VixError VixDiskLibExt_HasPrivileges(VixDiskLibConnection connection, const char *const *names, uint32 count,
                                     Bool *granted);

/* ---- incremental copies: what needs the machine of a connection to a server ---- */

/** Told of changed areas of a disk in ascending order, and, with lengthBytes 0, that all before startBytes has been
 * told. What goes beyond such a place may be told again. FALSE stops the call, which returns VIX_E_CANCELLED. */
typedef Bool (*VixDiskLibExt_AreaFunc)(void *data, uint64 startBytes, uint64 lengthBytes);

/** Tells which areas of a disk of the machine have changed since a change ID was its own ("*": which were ever
 * written); what is not told is unchanged. The server is asked until the range is covered, whatever its answers leave
 * out; a session that has ended meanwhile is renewed. The function may use the disk.
 * @snapshotRef as of this snapshot; NULL: as of now. @changeId of an earlier time, as VixDiskLibExt_VmDisk has it.
 * @startBytes, @endBytes the range; endBytes at most the capacity, or 0 for it.
 * Return: VIX_OK only if all areas of the range have been told. VIX_E_INVALID_ARG, VIX_E_FILE_ACCESS_ERROR: the server
 * does not know the ID, or has lost what it tracked; VIX_E_INVALID_XML: its answers contradict themselves;
 * VIX_E_NOT_SUPPORTED; VIX_E_FILE_NOT_FOUND: the machine has no such disk. */
VixError VixDiskLibExt_QueryChangedAreas(VixDiskLibConnection connection, const char *path, const char *snapshotRef,
                                         const char *changeId, uint64 startBytes, uint64 endBytes,
                                         VixDiskLibExt_AreaFunc func, void *data);

/** Switches the change tracking of the machine's disks. On a machine that runs it begins with its next snapshot. */
VixError VixDiskLibExt_SetChangeTracking(VixDiskLibConnection connection, Bool on);

/** Makes a snapshot of the machine, without its memory. @snapshotRef gets its reference; if it does not fit
 * (VIX_E_BUFFER_TOOSMALL) the snapshot exists all the same. Waits until it is made. */
VixError VixDiskLibExt_CreateSnapshot(VixDiskLibConnection connection, const char *name, const char *description,
                                      Bool quiesce, char *snapshotRef, size_t snapshotRefSize);

/** Removes a snapshot, those below it stay. Waits until its disks are merged. VIX_E_OBJECT_NOT_FOUND. */
VixError VixDiskLibExt_RemoveSnapshot(VixDiskLibConnection connection, const char *snapshotRef);

/** The host and port to which nbd and nbdssl go for a disk, as the server's ticket says; nothing is connected to. */
VixError VixDiskLibExt_FindDiskHost(VixDiskLibConnection connection, const char *path, char *host, size_t hostSize,
                                    uint32 *port);

#if defined(__cplusplus)
}
#endif

#endif /* VIXDISKLIBEXT_H */
