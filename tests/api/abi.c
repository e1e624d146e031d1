/* SPDX-License-Identifier: BSD-3-Clause */
/* abi.c - the binary interface, as assertions that the compiler checks: sizes and offsets of every public struct on
 * 64-bit Linux, values of the constants, and the prototype of every function. Binaries built against the headers of 5.x
 * to 9.x rest on these numbers. Nothing here runs. */
#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define AT(type, member, off) _Static_assert(offsetof(type, member) == (off), "offset of " #type "." #member)
#define VALUE(name, value) _Static_assert((name) == (value), "value of " #name)

/* Basic types. Bool is one byte; uint64 is printed with %lu by clients. */
SIZE(Bool, 1);
SIZE(uint8, 1);
SIZE(uint16, 2);
SIZE(uint32, 4);
SIZE(uint64, 8);
SIZE(int8, 1);
SIZE(int16, 2);
SIZE(int32, 4);
SIZE(int64, 8);
SIZE(VixError, 8);
SIZE(VixDiskLibSectorType, 8);
VALUE(TRUE, 1);
VALUE(FALSE, 0);
_Static_assert(__builtin_types_compatible_p(uint64, unsigned long), "uint64 is unsigned long");
_Static_assert(__builtin_types_compatible_p(VixError, uint64), "VixError is uint64");
_Static_assert((uint8)-1 > 0 && (uint64)-1 > 0 && (int8)-1 < 0, "signs");
VALUE(VIX_ERROR_CODE((VixError)0x1234000000010003), 3);

/* 5.x and 6.0 end at 72, 6.5 at 80, 6.7 to 9.x at 128. */
SIZE(VixDiskLibConnectParams, 128);
AT(VixDiskLibConnectParams, vmxSpec, 0);
AT(VixDiskLibConnectParams, serverName, 8);
AT(VixDiskLibConnectParams, thumbPrint, 16);
AT(VixDiskLibConnectParams, privateUse, 24);
AT(VixDiskLibConnectParams, credType, 32);
AT(VixDiskLibConnectParams, creds, 40);
AT(VixDiskLibConnectParams, creds.uid.userName, 40);
AT(VixDiskLibConnectParams, creds.uid.password, 48);
AT(VixDiskLibConnectParams, creds.sessionId.cookie, 40);
AT(VixDiskLibConnectParams, creds.sessionId.userName, 48);
AT(VixDiskLibConnectParams, creds.sessionId.key, 56);
AT(VixDiskLibConnectParams, creds.ticketId, 40);
AT(VixDiskLibConnectParams, port, 64);
AT(VixDiskLibConnectParams, nfcHostPort, 68);
AT(VixDiskLibConnectParams, vimApiVer, 72);
AT(VixDiskLibConnectParams, reserved, 80);
AT(VixDiskLibConnectParams, state, 88);
AT(VixDiskLibConnectParams, spec, 96);
AT(VixDiskLibConnectParams, spec.vStorageObjSpec.id, 96);
AT(VixDiskLibConnectParams, spec.vStorageObjSpec.datastoreMoRef, 104);
AT(VixDiskLibConnectParams, spec.vStorageObjSpec.ssId, 112);
AT(VixDiskLibConnectParams, spec.dsSpec.datastoreMoRef, 96);
AT(VixDiskLibConnectParams, spec.dsSpec.diskFolder, 104);
AT(VixDiskLibConnectParams, specType, 120);
SIZE(VixDiskLibCreds, 24);
SIZE(VixDiskLibUidPasswdCreds, 16);
SIZE(VixDiskLibSessionIdCreds, 24);
SIZE(VixDiskLibSpec, 24);
SIZE(VixDiskLibVStorageObjectSpec, 24);
SIZE(VixDiskLibDatastoreSpec, 16);

SIZE(VixDiskLibGeometry, 12);
AT(VixDiskLibGeometry, cylinders, 0);
AT(VixDiskLibGeometry, heads, 4);
AT(VixDiskLibGeometry, sectors, 8);

/* Up to 6.7 the struct ends at 56. */
SIZE(VixDiskLibInfo, 64);
AT(VixDiskLibInfo, biosGeo, 0);
AT(VixDiskLibInfo, physGeo, 12);
AT(VixDiskLibInfo, capacity, 24);
AT(VixDiskLibInfo, adapterType, 32);
AT(VixDiskLibInfo, numLinks, 36);
AT(VixDiskLibInfo, parentFileNameHint, 40);
AT(VixDiskLibInfo, uuid, 48);
AT(VixDiskLibInfo, logicalSectorSize, 56);
AT(VixDiskLibInfo, physicalSectorSize, 60);

/* Up to 6.7 the struct ends at 24. */
SIZE(VixDiskLibCreateParams, 32);
AT(VixDiskLibCreateParams, diskType, 0);
AT(VixDiskLibCreateParams, adapterType, 4);
AT(VixDiskLibCreateParams, hwVersion, 8);
AT(VixDiskLibCreateParams, capacity, 16);
AT(VixDiskLibCreateParams, logicalSectorSize, 24);
AT(VixDiskLibCreateParams, physicalSectorSize, 28);

SIZE(VixDiskLibBlock, 16);
AT(VixDiskLibBlock, offset, 0);
AT(VixDiskLibBlock, length, 8);
SIZE(VixDiskLibBlockList, 24);
AT(VixDiskLibBlockList, numBlocks, 0);
AT(VixDiskLibBlockList, blocks, 8);

SIZE(VixDiskLibHandle, 8);
SIZE(VixDiskLibConnection, 8);
SIZE(VixDiskLibDiskType, 4);
SIZE(VixDiskLibAdapterType, 4);
SIZE(VixDiskLibCredType, 4);
SIZE(VixDiskLibSpecType, 4);
SIZE(VixDiskLibProgressFunc, 8);
SIZE(VixDiskLibCompletionCB, 8);

VALUE(VIXDISKLIB_SECTOR_SIZE, 512);
VALUE(VIXDISKLIB_DISK_MONOLITHIC_SPARSE, 1);
VALUE(VIXDISKLIB_DISK_MONOLITHIC_FLAT, 2);
VALUE(VIXDISKLIB_DISK_SPLIT_SPARSE, 3);
VALUE(VIXDISKLIB_DISK_SPLIT_FLAT, 4);
VALUE(VIXDISKLIB_DISK_VMFS_FLAT, 5);
VALUE(VIXDISKLIB_DISK_STREAM_OPTIMIZED, 6);
VALUE(VIXDISKLIB_DISK_VMFS_THIN, 7);
VALUE(VIXDISKLIB_DISK_VMFS_SPARSE, 8);
VALUE(VIXDISKLIB_DISK_UNKNOWN, 256);
VALUE(VIXDISKLIB_ADAPTER_IDE, 1);
VALUE(VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC, 2);
VALUE(VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, 3);
VALUE(VIXDISKLIB_ADAPTER_UNKNOWN, 256);
VALUE(VIXDISKLIB_HWVERSION_WORKSTATION_4, 3);
VALUE(VIXDISKLIB_HWVERSION_WORKSTATION_5, 4);
VALUE(VIXDISKLIB_HWVERSION_ESX30, 4);
VALUE(VIXDISKLIB_HWVERSION_WORKSTATION_6, 6);
VALUE(VIXDISKLIB_HWVERSION_ESX4X, 7);
VALUE(VIXDISKLIB_HWVERSION_ESX50, 8);
VALUE(VIXDISKLIB_HWVERSION_ESX51, 9);
VALUE(VIXDISKLIB_HWVERSION_ESX55, 10);
VALUE(VIXDISKLIB_HWVERSION_ESX60, 11);
VALUE(VIXDISKLIB_HWVERSION_ESX65, 13);
VALUE(VIXDISKLIB_HWVERSION_CURRENT, 10);
VALUE(VIXDISKLIB_CRED_UID, 1);
VALUE(VIXDISKLIB_CRED_SESSIONID, 2);
VALUE(VIXDISKLIB_CRED_TICKETID, 3);
VALUE(VIXDISKLIB_CRED_SSPI, 4);
VALUE(VIXDISKLIB_CRED_UNKNOWN, 256);
VALUE(VIXDISKLIB_SPEC_VMX, 0);
VALUE(VIXDISKLIB_SPEC_VSTORAGE_OBJECT, 1);
VALUE(VIXDISKLIB_SPEC_DATASTORE, 2);
VALUE(VIXDISKLIB_FLAG_OPEN_UNBUFFERED, 0x001);
VALUE(VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, 0x002);
VALUE(VIXDISKLIB_FLAG_OPEN_READ_ONLY, 0x004);
VALUE(VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB, 0x010);
VALUE(VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ, 0x020);
VALUE(VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ, 0x040);
VALUE(VIXDISKLIB_FLAG_OPEN_COMPRESSION_MASK, 0x3f0);
VALUE(VIXDISKLIB_MIN_CHUNK_SIZE, 128);
VALUE(VIXDISKLIB_MAX_CHUNK_NUMBER, 524288);
VALUE(VIX_ASYNC, 25000);

/* Prototypes, spelled with plain types as clients that look the functions up by name spell them. */
typedef VixDiskLibHandle handle;
typedef VixDiskLibConnection conn;
typedef void log_fn(const char *, va_list);
typedef char progress_fn(void *, int);
typedef void completion_fn(void *, uint64_t);
typedef struct VixDiskLibConnectParams params;

#define PROTOTYPE(ret, name, ...)                                                                                      \
    _Static_assert(__builtin_types_compatible_p(__typeof__(name), ret(__VA_ARGS__)), "prototype of " #name)

PROTOTYPE(uint64_t, VixDiskLib_Init, uint32_t, uint32_t, log_fn *, log_fn *, log_fn *, const char *);
PROTOTYPE(uint64_t, VixDiskLib_InitEx, uint32_t, uint32_t, log_fn *, log_fn *, log_fn *, const char *, const char *);
PROTOTYPE(void, VixDiskLib_Exit, void);
PROTOTYPE(const char *, VixDiskLib_ListTransportModes, void);
PROTOTYPE(uint64_t, VixDiskLib_Cleanup, const params *, uint32_t *, uint32_t *);
PROTOTYPE(uint64_t, VixDiskLib_Connect, const params *, conn *);
PROTOTYPE(uint64_t, VixDiskLib_ConnectEx, const params *, char, const char *, const char *, conn *);
PROTOTYPE(uint64_t, VixDiskLib_Disconnect, conn);
PROTOTYPE(uint64_t, VixDiskLib_PrepareForAccess, const params *, const char *);
PROTOTYPE(uint64_t, VixDiskLib_EndAccess, const params *, const char *);
PROTOTYPE(params *, VixDiskLib_AllocateConnectParams, void);
PROTOTYPE(uint64_t, VixDiskLib_GetConnectParams, conn, params **);
PROTOTYPE(void, VixDiskLib_FreeConnectParams, params *);
PROTOTYPE(uint64_t, VixDiskLib_Create, conn, const char *, const VixDiskLibCreateParams *, progress_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_CreateChild, handle, const char *, VixDiskLibDiskType, progress_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_Open, conn, const char *, uint32_t, handle *);
PROTOTYPE(uint64_t, VixDiskLib_Close, handle);
PROTOTYPE(uint64_t, VixDiskLib_GetInfo, handle, VixDiskLibInfo **);
PROTOTYPE(void, VixDiskLib_FreeInfo, VixDiskLibInfo *);
PROTOTYPE(const char *, VixDiskLib_GetTransportMode, handle);
PROTOTYPE(uint64_t, VixDiskLib_Read, handle, uint64_t, uint64_t, uint8_t *);
PROTOTYPE(uint64_t, VixDiskLib_Write, handle, uint64_t, uint64_t, const uint8_t *);
PROTOTYPE(uint64_t, VixDiskLib_ReadAsync, handle, uint64_t, uint64_t, uint8_t *, completion_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_WriteAsync, handle, uint64_t, uint64_t, const uint8_t *, completion_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_Flush, handle);
PROTOTYPE(uint64_t, VixDiskLib_Wait, handle);
PROTOTYPE(uint64_t, VixDiskLib_ReadMetadata, handle, const char *, char *, size_t, size_t *);
PROTOTYPE(uint64_t, VixDiskLib_WriteMetadata, handle, const char *, const char *);
PROTOTYPE(uint64_t, VixDiskLib_GetMetadataKeys, handle, char *, size_t, size_t *);
PROTOTYPE(uint64_t, VixDiskLib_Unlink, conn, const char *);
PROTOTYPE(uint64_t, VixDiskLib_Grow, conn, const char *, uint64_t, char, progress_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_Shrink, handle, progress_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_Defragment, handle, progress_fn *, void *);
PROTOTYPE(uint64_t, VixDiskLib_Rename, const char *, const char *);
PROTOTYPE(uint64_t, VixDiskLib_Clone, conn, const char *, conn, const char *, const VixDiskLibCreateParams *,
          progress_fn *, void *, char);
PROTOTYPE(uint64_t, VixDiskLib_SpaceNeededForClone, handle, VixDiskLibDiskType, uint64_t *);
PROTOTYPE(uint64_t, VixDiskLib_IsAttachPossible, handle, handle);
PROTOTYPE(uint64_t, VixDiskLib_Attach, handle, handle);
PROTOTYPE(uint64_t, VixDiskLib_CheckRepair, conn, const char *, char);
PROTOTYPE(uint64_t, VixDiskLib_Reparent, conn, const char *, const char *);
PROTOTYPE(uint64_t, VixDiskLib_QueryAllocatedBlocks, handle, uint64_t, uint64_t, uint64_t, VixDiskLibBlockList **);
PROTOTYPE(uint64_t, VixDiskLib_FreeBlockList, VixDiskLibBlockList *);
PROTOTYPE(char *, VixDiskLib_GetErrorText, uint64_t, const char *);
PROTOTYPE(void, VixDiskLib_FreeErrorText, char *);
