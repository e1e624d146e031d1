/* SPDX-License-Identifier: BSD-3-Clause */
/* vixDiskLib.h - the VixDiskLib interface of vixdisk.
 *
 * Source and binary compatible with the interface of VMware's Virtual Disk Development Kit, 5.x to 9.x.
 * All sector counts and offsets are in units of VIXDISKLIB_SECTOR_SIZE (512) bytes, whatever the logical sector size of
 * the disk. Every function may be called from any thread; reads on one handle run in parallel. Optional pointers may be
 * NULL. A function that fails leaves its output arguments untouched unless its comment says otherwise. */
#ifndef _VIXDISKLIB_H_
#define _VIXDISKLIB_H_

#include <stdarg.h>
#include <stdlib.h>

#include "vm_basic_types.h"

#if defined(__cplusplus)
extern "C" {
#endif

/** An error code: VIX_OK or one of the VIX_E_ values below. */
typedef uint64 VixError;

/* The codes are the same as those of vix.h, so they are left out where a program has included that first. */
#ifndef _VIX_H_
#define VIX_ERROR_CODE(err) (0xFFFF & (err))
#define VIX_SUCCEEDED(err) (VIX_OK == (err))
#define VIX_FAILED(err) (VIX_OK != (err))

enum {

    /* General */
    VIX_OK = 0,
    VIX_E_FAIL = 1,
    VIX_E_OUT_OF_MEMORY = 2,
    VIX_E_INVALID_ARG = 3,
    VIX_E_FILE_NOT_FOUND = 4,
    VIX_E_OBJECT_IS_BUSY = 5,
    VIX_E_NOT_SUPPORTED = 6,
    VIX_E_FILE_ERROR = 7,
    VIX_E_DISK_FULL = 8,
    VIX_E_INCORRECT_FILE_TYPE = 9,
    VIX_E_CANCELLED = 10,
    VIX_E_FILE_READ_ONLY = 11,
    VIX_E_FILE_ALREADY_EXISTS = 12,
    VIX_E_FILE_ACCESS_ERROR = 13,
    VIX_E_REQUIRES_LARGE_FILES = 14,
    VIX_E_FILE_ALREADY_LOCKED = 15,
    VIX_E_VMDB = 16,
    VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT = 20,
    VIX_E_FILE_TOO_BIG = 21,
    VIX_E_FILE_NAME_INVALID = 22,
    VIX_E_ALREADY_EXISTS = 23,
    VIX_E_BUFFER_TOOSMALL = 24,
    VIX_E_OBJECT_NOT_FOUND = 25,
    VIX_E_HOST_NOT_CONNECTED = 26,
    VIX_E_INVALID_UTF8_STRING = 27,
    VIX_E_UNFINISHED_JOB = 29,
    VIX_E_NEED_KEY = 30,
    VIX_E_OPERATION_ALREADY_IN_PROGRESS = 31,
    VIX_E_LICENSE = 32,
    VIX_E_VM_HOST_DISCONNECTED = 34,
    VIX_E_AUTHENTICATION_FAIL = 35,
    VIX_E_HOST_CONNECTION_LOST = 36,
    VIX_E_DUPLICATE_NAME = 41,
    VIX_E_ARGUMENT_TOO_BIG = 44,

    /* Handles */
    VIX_E_INVALID_HANDLE = 1000,
    VIX_E_NOT_SUPPORTED_ON_HANDLE_TYPE = 1001,
    VIX_E_TOO_MANY_HANDLES = 1002,

    /* XML / typed files */
    VIX_E_NOT_FOUND = 2000,
    VIX_E_TYPE_MISMATCH = 2001,
    VIX_E_INVALID_XML = 2002,

    /* VM control */
    VIX_E_TIMEOUT_WAITING_FOR_TOOLS = 3000,
    VIX_E_UNRECOGNIZED_COMMAND = 3001,
    VIX_E_OP_NOT_SUPPORTED_ON_GUEST = 3003,
    VIX_E_PROGRAM_NOT_STARTED = 3004,
    VIX_E_CANNOT_START_READ_ONLY_VM = 3005,
    VIX_E_VM_NOT_RUNNING = 3006,
    VIX_E_VM_IS_RUNNING = 3007,
    VIX_E_CANNOT_CONNECT_TO_VM = 3008,
    VIX_E_POWEROP_SCRIPTS_NOT_AVAILABLE = 3009,
    VIX_E_NO_GUEST_OS_INSTALLED = 3010,
    VIX_E_VM_INSUFFICIENT_HOST_MEMORY = 3011,
    VIX_E_SUSPEND_ERROR = 3012,
    VIX_E_VM_NOT_ENOUGH_CPUS = 3013,
    VIX_E_HOST_USER_PERMISSIONS = 3014,
    VIX_E_GUEST_USER_PERMISSIONS = 3015,
    VIX_E_TOOLS_NOT_RUNNING = 3016,
    VIX_E_GUEST_OPERATIONS_PROHIBITED = 3017,
    VIX_E_ANON_GUEST_OPERATIONS_PROHIBITED = 3018,
    VIX_E_ROOT_GUEST_OPERATIONS_PROHIBITED = 3019,
    VIX_E_MISSING_ANON_GUEST_ACCOUNT = 3023,
    VIX_E_CANNOT_AUTHENTICATE_WITH_GUEST = 3024,
    VIX_E_UNRECOGNIZED_COMMAND_IN_GUEST = 3025,
    VIX_E_CONSOLE_GUEST_OPERATIONS_PROHIBITED = 3026,
    VIX_E_MUST_BE_CONSOLE_USER = 3027,
    VIX_E_VMX_MSG_DIALOG_AND_NO_UI = 3028,
    VIX_E_NOT_ALLOWED_DURING_VM_RECORDING = 3029,
    VIX_E_NOT_ALLOWED_DURING_VM_REPLAY = 3030,
    VIX_E_OPERATION_NOT_ALLOWED_FOR_LOGIN_TYPE = 3031,
    VIX_E_LOGIN_TYPE_NOT_SUPPORTED = 3032,
    VIX_E_EMPTY_PASSWORD_NOT_ALLOWED_IN_GUEST = 3033,
    VIX_E_INTERACTIVE_SESSION_NOT_PRESENT = 3034,
    VIX_E_INTERACTIVE_SESSION_USER_MISMATCH = 3035,
    VIX_E_UNABLE_TO_REPLAY_VM = 3039,
    VIX_E_CANNOT_POWER_ON_VM = 3041,
    VIX_E_NO_DISPLAY_SERVER = 3043,
    VIX_E_VM_NOT_RECORDING = 3044,
    VIX_E_VM_NOT_REPLAYING = 3045,
    VIX_E_TOO_MANY_LOGONS = 3046,
    VIX_E_INVALID_AUTHENTICATION_SESSION = 3047,

    /* VM */
    VIX_E_VM_NOT_FOUND = 4000,
    VIX_E_NOT_SUPPORTED_FOR_VM_VERSION = 4001,
    VIX_E_CANNOT_READ_VM_CONFIG = 4002,
    VIX_E_TEMPLATE_VM = 4003,
    VIX_E_VM_ALREADY_LOADED = 4004,
    VIX_E_VM_ALREADY_UP_TO_DATE = 4006,
    VIX_E_VM_UNSUPPORTED_GUEST = 4011,

    /* Properties */
    VIX_E_UNRECOGNIZED_PROPERTY = 6000,
    VIX_E_INVALID_PROPERTY_VALUE = 6001,
    VIX_E_READ_ONLY_PROPERTY = 6002,
    VIX_E_MISSING_REQUIRED_PROPERTY = 6003,
    VIX_E_INVALID_SERIALIZED_DATA = 6004,
    VIX_E_PROPERTY_TYPE_MISMATCH = 6005,

    /* Results */
    VIX_E_BAD_VM_INDEX = 8000,

    /* Messages */
    VIX_E_INVALID_MESSAGE_HEADER = 10000,
    VIX_E_INVALID_MESSAGE_BODY = 10001,

    /* Snapshots */
    VIX_E_SNAPSHOT_INVAL = 13000,
    VIX_E_SNAPSHOT_DUMPER = 13001,
    VIX_E_SNAPSHOT_DISKLIB = 13002,
    VIX_E_SNAPSHOT_NOTFOUND = 13003,
    VIX_E_SNAPSHOT_EXISTS = 13004,
    VIX_E_SNAPSHOT_VERSION = 13005,
    VIX_E_SNAPSHOT_NOPERM = 13006,
    VIX_E_SNAPSHOT_CONFIG = 13007,
    VIX_E_SNAPSHOT_NOCHANGE = 13008,
    VIX_E_SNAPSHOT_CHECKPOINT = 13009,
    VIX_E_SNAPSHOT_LOCKED = 13010,
    VIX_E_SNAPSHOT_INCONSISTENT = 13011,
    VIX_E_SNAPSHOT_NAMETOOLONG = 13012,
    VIX_E_SNAPSHOT_VIXFILE = 13013,
    VIX_E_SNAPSHOT_DISKLOCKED = 13014,
    VIX_E_SNAPSHOT_DUPLICATEDDISK = 13015,
    VIX_E_SNAPSHOT_INDEPENDENTDISK = 13016,
    VIX_E_SNAPSHOT_NONUNIQUE_NAME = 13017,
    VIX_E_SNAPSHOT_MEMORY_ON_INDEPENDENT_DISK = 13018,
    VIX_E_SNAPSHOT_MAXSNAPSHOTS = 13019,
    VIX_E_SNAPSHOT_MIN_FREE_SPACE = 13020,
    VIX_E_SNAPSHOT_HIERARCHY_TOODEEP = 13021,
    VIX_E_SNAPSHOT_RRSUSPEND = 13022,
    VIX_E_SNAPSHOT_NOT_REVERTABLE = 13024,

    /* Host / transport */
    VIX_E_HOST_DISK_INVALID_VALUE = 14003,
    VIX_E_HOST_DISK_SECTORSIZE = 14004,
    VIX_E_HOST_FILE_ERROR_EOF = 14005,
    VIX_E_HOST_NETBLKDEV_HANDSHAKE = 14006,
    VIX_E_HOST_SOCKET_CREATION_ERROR = 14007,
    VIX_E_HOST_SERVER_NOT_FOUND = 14008,
    VIX_E_HOST_NETWORK_CONN_REFUSED = 14009,
    VIX_E_HOST_TCP_SOCKET_ERROR = 14010,
    VIX_E_HOST_TCP_CONN_LOST = 14011,
    VIX_E_HOST_NBD_HASHFILE_VOLUME = 14012,
    VIX_E_HOST_NBD_HASHFILE_INIT = 14013,
    VIX_E_HOST_SERVER_SHUTDOWN = 14014,
    VIX_E_HOST_SERVER_NOT_AVAILABLE = 14015,

    /* Virtual disk library */
    VIX_E_DISK_INVAL = 16000,
    VIX_E_DISK_NOINIT = 16001,
    VIX_E_DISK_NOIO = 16002,
    VIX_E_DISK_PARTIALCHAIN = 16003,
    VIX_E_DISK_NEEDSREPAIR = 16006,
    VIX_E_DISK_OUTOFRANGE = 16007,
    VIX_E_DISK_CID_MISMATCH = 16008,
    VIX_E_DISK_CANTSHRINK = 16009,
    VIX_E_DISK_PARTMISMATCH = 16010,
    VIX_E_DISK_UNSUPPORTEDDISKVERSION = 16011,
    VIX_E_DISK_OPENPARENT = 16012,
    VIX_E_DISK_NOTSUPPORTED = 16013,
    VIX_E_DISK_NEEDKEY = 16014,
    VIX_E_DISK_NOKEYOVERRIDE = 16015,
    VIX_E_DISK_NOTENCRYPTED = 16016,
    VIX_E_DISK_NOKEY = 16017,
    VIX_E_DISK_INVALIDPARTITIONTABLE = 16018,
    VIX_E_DISK_NOTNORMAL = 16019,
    VIX_E_DISK_NOTENCDESC = 16020,
    VIX_E_DISK_NEEDVMFS = 16022,
    VIX_E_DISK_RAWTOOBIG = 16024,
    VIX_E_DISK_TOOMANYOPENFILES = 16027,
    VIX_E_DISK_TOOMANYREDO = 16028,
    VIX_E_DISK_RAWTOOSMALL = 16029,
    VIX_E_DISK_INVALIDCHAIN = 16030,
    VIX_E_DISK_KEY_NOTFOUND = 16052,
    VIX_E_DISK_SUBSYSTEM_INIT_FAIL = 16053,
    VIX_E_DISK_INVALID_CONNECTION = 16054,
    VIX_E_DISK_ENCODING = 16061,
    VIX_E_DISK_CANTREPAIR = 16062,
    VIX_E_DISK_INVALIDDISK = 16063,
    VIX_E_DISK_NOLICENSE = 16064,
    VIX_E_DISK_NODEVICE = 16065,
    VIX_E_DISK_UNSUPPORTEDDEVICE = 16066,
    VIX_E_DISK_CAPACITY_MISMATCH = 16067,
    VIX_E_DISK_PARENT_NOTALLOWED = 16068,
    VIX_E_DISK_ATTACH_ROOTLINK = 16069,

    /* Crypto */
    VIX_E_CRYPTO_UNKNOWN_ALGORITHM = 17000,
    VIX_E_CRYPTO_BAD_BUFFER_SIZE = 17001,
    VIX_E_CRYPTO_INVALID_OPERATION = 17002,
    VIX_E_CRYPTO_RANDOM_DEVICE = 17003,
    VIX_E_CRYPTO_NEED_PASSWORD = 17004,
    VIX_E_CRYPTO_BAD_PASSWORD = 17005,
    VIX_E_CRYPTO_NOT_IN_DICTIONARY = 17006,
    VIX_E_CRYPTO_NO_CRYPTO = 17007,
    VIX_E_CRYPTO_ERROR = 17008,
    VIX_E_CRYPTO_BAD_FORMAT = 17009,
    VIX_E_CRYPTO_LOCKED = 17010,
    VIX_E_CRYPTO_EMPTY = 17011,
    VIX_E_CRYPTO_KEYSAFE_LOCATOR = 17012,

    /* Remote host */
    VIX_E_CANNOT_CONNECT_TO_HOST = 18000,
    VIX_E_NOT_FOR_REMOTE_HOST = 18001,
    VIX_E_INVALID_HOSTNAME_SPECIFICATION = 18002,

    /* Screen capture */
    VIX_E_SCREEN_CAPTURE_ERROR = 19000,
    VIX_E_SCREEN_CAPTURE_BAD_FORMAT = 19001,
    VIX_E_SCREEN_CAPTURE_COMPRESSION_FAIL = 19002,
    VIX_E_SCREEN_CAPTURE_LARGE_DATA = 19003,

    /* Guest */
    VIX_E_GUEST_VOLUMES_NOT_FROZEN = 20000,
    VIX_E_NOT_A_FILE = 20001,
    VIX_E_NOT_A_DIRECTORY = 20002,
    VIX_E_NO_SUCH_PROCESS = 20003,
    VIX_E_FILE_NAME_TOO_LONG = 20004,
    VIX_E_OPERATION_DISABLED = 20005,

    /* Tools install */
    VIX_E_TOOLS_INSTALL_NO_IMAGE = 21000,
    VIX_E_TOOLS_INSTALL_IMAGE_INACCESIBLE = 21001,
    VIX_E_TOOLS_INSTALL_NO_DEVICE = 21002,
    VIX_E_TOOLS_INSTALL_DEVICE_NOT_CONNECTED = 21003,
    VIX_E_TOOLS_INSTALL_CANCELLED = 21004,
    VIX_E_TOOLS_INSTALL_INIT_FAILED = 21005,
    VIX_E_TOOLS_INSTALL_AUTO_NOT_SUPPORTED = 21006,
    VIX_E_TOOLS_INSTALL_GUEST_NOT_READY = 21007,
    VIX_E_TOOLS_INSTALL_SIG_CHECK_FAILED = 21008,
    VIX_E_TOOLS_INSTALL_ERROR = 21009,
    VIX_E_TOOLS_INSTALL_ALREADY_UP_TO_DATE = 21010,
    VIX_E_TOOLS_INSTALL_IN_PROGRESS = 21011,
    VIX_E_TOOLS_INSTALL_IMAGE_COPY_FAILED = 21012,

    /* Wrapper */
    VIX_E_WRAPPER_WORKSTATION_NOT_INSTALLED = 22001,
    VIX_E_WRAPPER_VERSION_NOT_FOUND = 22002,
    VIX_E_WRAPPER_SERVICEPROVIDER_NOT_FOUND = 22003,
    VIX_E_WRAPPER_PLAYER_NOT_INSTALLED = 22004,
    VIX_E_WRAPPER_RUNTIME_NOT_INSTALLED = 22005,
    VIX_E_WRAPPER_MULTIPLE_SERVICEPROVIDERS = 22006,

    /* Mount API (24000-24299 FUSE mount, 24300+ VixMntapi) */
    VIX_E_MNTAPI_MOUNTPT_NOT_FOUND = 24000,
    VIX_E_MNTAPI_MOUNTPT_IN_USE = 24001,
    VIX_E_MNTAPI_DISK_NOT_FOUND = 24002,
    VIX_E_MNTAPI_DISK_NOT_MOUNTED = 24003,
    VIX_E_MNTAPI_DISK_IS_MOUNTED = 24004,
    VIX_E_MNTAPI_DISK_NOT_SAFE = 24005,
    VIX_E_MNTAPI_DISK_CANT_OPEN = 24006,
    VIX_E_MNTAPI_CANT_READ_PARTS = 24007,
    VIX_E_MNTAPI_UMOUNT_APP_NOT_FOUND = 24008,
    VIX_E_MNTAPI_UMOUNT = 24009,
    VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS = 24010,
    VIX_E_MNTAPI_PARTITION_RANGE = 24011,
    VIX_E_MNTAPI_PERM = 24012,
    VIX_E_MNTAPI_DICT = 24013,
    VIX_E_MNTAPI_DICT_LOCKED = 24014,
    VIX_E_MNTAPI_OPEN_HANDLES = 24015,
    VIX_E_MNTAPI_CANT_MAKE_VAR_DIR = 24016,
    VIX_E_MNTAPI_NO_ROOT = 24017,
    VIX_E_MNTAPI_LOOP_FAILED = 24018,
    VIX_E_MNTAPI_DAEMON = 24019,
    VIX_E_MNTAPI_INTERNAL = 24020,
    VIX_E_MNTAPI_SYSTEM = 24021,
    VIX_E_MNTAPI_NO_CONNECTION_DETAILS = 24022,
    VIX_E_MNTAPI_INCOMPATIBLE_VERSION = 24300,
    VIX_E_MNTAPI_OS_ERROR = 24301,
    VIX_E_MNTAPI_DRIVE_LETTER_IN_USE = 24302,
    VIX_E_MNTAPI_DRIVE_LETTER_ALREADY_ASSIGNED = 24303,
    VIX_E_MNTAPI_VOLUME_NOT_MOUNTED = 24304,
    VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED = 24305,
    VIX_E_MNTAPI_FORMAT_FAILURE = 24306,
    VIX_E_MNTAPI_NO_DRIVER = 24307,
    VIX_E_MNTAPI_ALREADY_OPENED = 24308,
    VIX_E_MNTAPI_ITEM_NOT_FOUND = 24309,
    VIX_E_MNTAPI_UNSUPPROTED_BOOT_LOADER = 24310,
    VIX_E_MNTAPI_UNSUPPROTED_OS = 24311,
    VIX_E_MNTAPI_CODECONVERSION = 24312,
    VIX_E_MNTAPI_REGWRITE_ERROR = 24313,
    VIX_E_MNTAPI_UNSUPPORTED_FT_VOLUME = 24314,
    VIX_E_MNTAPI_PARTITION_NOT_FOUND = 24315,
    VIX_E_MNTAPI_PUTFILE_ERROR = 24316,
    VIX_E_MNTAPI_GETFILE_ERROR = 24317,
    VIX_E_MNTAPI_REG_NOT_OPENED = 24318,
    VIX_E_MNTAPI_REGDELKEY_ERROR = 24319,
    VIX_E_MNTAPI_CREATE_PARTITIONTABLE_ERROR = 24320,
    VIX_E_MNTAPI_OPEN_FAILURE = 24321,
    VIX_E_MNTAPI_VOLUME_NOT_WRITABLE = 24322,

    /* Asynchronous I/O */
    VIX_ASYNC = 25000,
    VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED = 26000,

    /* HTTP */
    VIX_E_NET_HTTP_UNSUPPORTED_PROTOCOL = 30001,
    VIX_E_NET_HTTP_URL_MALFORMAT = 30003,
    VIX_E_NET_HTTP_COULDNT_RESOLVE_PROXY = 30005,
    VIX_E_NET_HTTP_COULDNT_RESOLVE_HOST = 30006,
    VIX_E_NET_HTTP_COULDNT_CONNECT = 30007,
    VIX_E_NET_HTTP_HTTP_RETURNED_ERROR = 30022,
    VIX_E_NET_HTTP_OPERATION_TIMEDOUT = 30028,
    VIX_E_NET_HTTP_SSL_CONNECT_ERROR = 30035,
    VIX_E_NET_HTTP_TOO_MANY_REDIRECTS = 30047,
    VIX_E_NET_HTTP_TRANSFER = 30200,
    VIX_E_NET_HTTP_SSL_SECURITY = 30201,
    VIX_E_NET_HTTP_GENERIC = 30202,
};
#endif /* _VIX_H_ */

#define VIXDISKLIB_SECTOR_SIZE 512

/** A position or a number of sectors of 512 bytes. */
typedef uint64 VixDiskLibSectorType;

/** The file formats of a disk. */
typedef enum {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE = 1, /* one file, sparse */
    VIXDISKLIB_DISK_MONOLITHIC_FLAT = 2,   /* one data file, preallocated */
    VIXDISKLIB_DISK_SPLIT_SPARSE = 3,      /* extents of at most 2 GB, sparse */
    VIXDISKLIB_DISK_SPLIT_FLAT = 4,        /* extents of at most 2 GB, preallocated */
    VIXDISKLIB_DISK_VMFS_FLAT = 5,         /* ESX, thick */
    VIXDISKLIB_DISK_STREAM_OPTIMIZED = 6,  /* compressed, written once in ascending order */
    VIXDISKLIB_DISK_VMFS_THIN = 7,         /* ESX, thin */
    VIXDISKLIB_DISK_VMFS_SPARSE = 8,       /* ESX, redo log */
    VIXDISKLIB_DISK_UNKNOWN = 256
} VixDiskLibDiskType;

/** The virtual controller that a disk is meant for. */
typedef enum {
    VIXDISKLIB_ADAPTER_IDE = 1,
    VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC = 2,
    VIXDISKLIB_ADAPTER_SCSI_LSILOGIC = 3,
    VIXDISKLIB_ADAPTER_UNKNOWN = 256
} VixDiskLibAdapterType;

/* Virtual hardware versions; any 16-bit number is taken. */
#define VIXDISKLIB_HWVERSION_WORKSTATION_4 3
#define VIXDISKLIB_HWVERSION_WORKSTATION_5 4
#define VIXDISKLIB_HWVERSION_ESX30 VIXDISKLIB_HWVERSION_WORKSTATION_5
#define VIXDISKLIB_HWVERSION_WORKSTATION_6 6
#define VIXDISKLIB_HWVERSION_ESX4X 7
#define VIXDISKLIB_HWVERSION_ESX50 8
#define VIXDISKLIB_HWVERSION_ESX51 9
#define VIXDISKLIB_HWVERSION_ESX55 10
#define VIXDISKLIB_HWVERSION_ESX60 11
#define VIXDISKLIB_HWVERSION_ESX65 13
#define VIXDISKLIB_HWVERSION_CURRENT VIXDISKLIB_HWVERSION_ESX55

/** How a connection is authenticated. */
typedef enum {
    VIXDISKLIB_CRED_UID = 1,       /* user name and password */
    VIXDISKLIB_CRED_SESSIONID = 2, /* cookie of an existing session */
    VIXDISKLIB_CRED_TICKETID = 3,  /* not used */
    VIXDISKLIB_CRED_SSPI = 4,      /* Windows only */
    VIXDISKLIB_CRED_UNKNOWN = 256
} VixDiskLibCredType;

/** What the disk spec of a connection names (since 6.7). */
typedef enum {
    VIXDISKLIB_SPEC_VMX = 0,             /* a virtual machine: vmxSpec */
    VIXDISKLIB_SPEC_VSTORAGE_OBJECT = 1, /* a first-class disk */
    VIXDISKLIB_SPEC_DATASTORE = 2,       /* a folder of a datastore (since 8.0.1) */
    VIXDISKLIB_SPEC_UNKNOWN = 3
} VixDiskLibSpecType;

typedef struct {
    char *userName;
    char *password;
} VixDiskLibUidPasswdCreds;

typedef struct {
    char *cookie; /* value of the vmware_soap_session cookie */
    char *userName;
    char *key; /* password */
} VixDiskLibSessionIdCreds;

struct VixDiskLibTicketIdCreds;

typedef union VixDiskLibCreds {
    VixDiskLibUidPasswdCreds uid;
    VixDiskLibSessionIdCreds sessionId;
    struct VixDiskLibTicketIdCreds *ticketId;
} VixDiskLibCreds;

typedef struct {
    char *id;
    char *datastoreMoRef;
    char *ssId;
} VixDiskLibVStorageObjectSpec;

typedef struct {
    char *datastoreMoRef;
    char *diskFolder;
} VixDiskLibDatastoreSpec;

typedef union VixDiskLibSpec {
    VixDiskLibVStorageObjectSpec vStorageObjSpec;
    VixDiskLibDatastoreSpec dsSpec;
} VixDiskLibSpec;

/** Where and as whom to connect. NULL or all zero: local disks. Everything that it points to is copied by the call that
 * takes it. Programs of the 5.x and 6.x interfaces pass only the first 72 or 80 bytes: the members from vimApiVer on
 * are read only from structs that VixDiskLib_AllocateConnectParams made. */
typedef struct VixDiskLibConnectParams {
    char *vmxSpec; /* "moref=vm-16", or path?dcPath=...&dsName=... */
    char *serverName;
    char *thumbPrint; /* SHA-1 or SHA-256 of the server's certificate, pairs of hex digits with colons; NULL: the
                         chain of the certificate is checked */
    long privateUse;
    VixDiskLibCredType credType;
    VixDiskLibCreds creds;
    uint32 port;        /* 0: 443 */
    uint32 nfcHostPort; /* 0: 902 */
    char *vimApiVer;
    char reserved[8];
    void *state;
    VixDiskLibSpec spec;
    VixDiskLibSpecType specType;
} VixDiskLibConnectParams;

typedef struct {
    uint32 cylinders;
    uint32 heads;
    uint32 sectors;
} VixDiskLibGeometry;

/** What VixDiskLib_GetInfo tells; made by the library, freed by VixDiskLib_FreeInfo. */
typedef struct {
    VixDiskLibGeometry biosGeo;
    VixDiskLibGeometry physGeo;
    VixDiskLibSectorType capacity; /* sectors of 512 bytes */
    VixDiskLibAdapterType adapterType;
    int numLinks;             /* links of the chain as it was opened */
    char *parentFileNameHint; /* or NULL */
    char *uuid;               /* or NULL */
    uint32 logicalSectorSize; /* bytes */
    uint32 physicalSectorSize;
} VixDiskLibInfo;

/** How to make a disk. The last two members are read only if the program asked for version 7.0 or newer. */
typedef struct {
    VixDiskLibDiskType diskType;
    VixDiskLibAdapterType adapterType;
    uint16 hwVersion;
    VixDiskLibSectorType capacity; /* sectors of 512 bytes */
    uint32 logicalSectorSize;      /* bytes; 0: 512 */
    uint32 physicalSectorSize;
} VixDiskLibCreateParams;

/** A run of sectors. */
typedef struct {
    VixDiskLibSectorType offset;
    VixDiskLibSectorType length;
} VixDiskLibBlock;

/** What VixDiskLib_QueryAllocatedBlocks tells: numBlocks runs, ascending. */
typedef struct {
    uint32 numBlocks;
    VixDiskLibBlock blocks[1];
} VixDiskLibBlockList;

/* Flags of VixDiskLib_Open. */
#define VIXDISKLIB_FLAG_OPEN_UNBUFFERED (1 << 0)  /* past the host's page cache */
#define VIXDISKLIB_FLAG_OPEN_SINGLE_LINK (1 << 1) /* this link only, not the chain; hosted disks */
#define VIXDISKLIB_FLAG_OPEN_READ_ONLY (1 << 2)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB (1 << 4)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ (1 << 5)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ (1 << 6)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_MASK 0x000003f0

/* Limits of VixDiskLib_QueryAllocatedBlocks. */
#define VIXDISKLIB_MIN_CHUNK_SIZE 128
#define VIXDISKLIB_MAX_CHUNK_NUMBER (512 * 1024)

struct VixDiskLibHandleStruct;
/** An open disk. */
typedef struct VixDiskLibHandleStruct *VixDiskLibHandle;

struct VixDiskLibConnectParam;
/** A connection. */
typedef struct VixDiskLibConnectParam *VixDiskLibConnection;

/** Takes a message: a printf format that ends in a newline, and its arguments. May be called on any thread. */
typedef void(VixDiskLibGenericLogFunc)(const char *fmt, va_list args);
typedef void(VixDiskLibGenericLogVFunc)(int routing, const char *fmt, va_list args);

/** Told of progress, in per cent, on the calling thread. The return value is not looked at. */
typedef Bool (*VixDiskLibProgressFunc)(void *data, int percentCompleted);

/** Told once that an asynchronous request has ended, on any thread, perhaps before the request's call returns. */
typedef void (*VixDiskLibCompletionCB)(void *cbData, VixError result);

/* ---- the library ---- */

/** Starts the library; see VixDiskLib_InitEx. No configuration file. */
VixError VixDiskLib_Init(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                         VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir);

/** Starts the library; the first call, once per process, repeatable after a failure. While it is started, another call
 * sets the callbacks and the version anew; one VixDiskLib_Exit ends it.
 * @majorVersion @minorVersion the interface that the program was written for: up to 9.x; newer is VIX_E_NOT_SUPPORTED.
 * @log @warn @panic take messages (news; failures; never used by this library); NULL is silent.
 * @libDir the install root, or NULL. @configFile lines of name=value, or NULL; a named file that cannot be read is an
 * error, a line that is not understood is skipped and logged.
 * Return: VIX_OK; VIX_E_NOT_SUPPORTED; VIX_E_FILE_NOT_FOUND or VIX_E_FILE_ACCESS_ERROR for the configuration file. */
VixError VixDiskLib_InitEx(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                           VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic, const char *libDir,
                           const char *configFile);

/** Ends the library. Disks and connections that are still open are closed. From within a callback it does nothing. */
void VixDiskLib_Exit(void);

/** The transports of this build, in the order in which they are tried, separated by colons. The string is the
 * library's. */
const char *VixDiskLib_ListTransportModes(void);

/** Removes what crashed runs left behind on a virtual machine. Harmless for local disks.
 * @numCleanedUp @numRemaining set to the numbers of disks, or NULL. */
VixError VixDiskLib_Cleanup(const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp, uint32 *numRemaining);

/* ---- connections ---- */

/** Connects; as VixDiskLib_ConnectEx, read-write, without a snapshot, by nbdssl or nbd. */
VixError VixDiskLib_Connect(const VixDiskLibConnectParams *connectParams, VixDiskLibConnection *connection);

/** Connects to a server, or to the local host when connectParams is NULL or names no server.
 * @readOnly every disk of this connection is opened read-only. @snapshotRef managed object reference of a snapshot,
 * NULL or empty for none. @transportModes names separated by colons, tried in order at VixDiskLib_Open; NULL for all.
 * @connection set on success, to be given to VixDiskLib_Disconnect; NULL on failure.
 * Return: VIX_E_HOST_SERVER_NOT_FOUND for an unknown name, VIX_E_HOST_NETWORK_CONN_REFUSED,
 * VIX_E_CANNOT_CONNECT_TO_HOST (time-out, TLS, certificate), VIX_E_HOST_SERVER_NOT_AVAILABLE,
 * VIX_E_HOST_USER_PERMISSIONS for a login that is refused, VIX_E_LOGIN_TYPE_NOT_SUPPORTED, VIX_E_NOT_SUPPORTED for
 * first-class disks. */
VixError VixDiskLib_ConnectEx(const VixDiskLibConnectParams *connectParams, Bool readOnly, const char *snapshotRef,
                              const char *transportModes, VixDiskLibConnection *connection);

/** Ends a connection; disks still open on it are closed first, and the first failure of one is returned.
 * Return: VIX_E_OBJECT_IS_BUSY from a callback of one of its disks, as VixDiskLib_Close. */
VixError VixDiskLib_Disconnect(VixDiskLibConnection connection);

/** Keeps a virtual machine from being moved until VixDiskLib_EndAccess. Harmless for local disks.
 * @identity who asks, at most 50 characters.
 * Return: VIX_E_OBJECT_IS_BUSY: it is kept so in the name of another identity. */
VixError VixDiskLib_PrepareForAccess(const VixDiskLibConnectParams *connectParams, const char *identity);

/** Undoes VixDiskLib_PrepareForAccess with the same arguments. */
VixError VixDiskLib_EndAccess(const VixDiskLibConnectParams *connectParams, const char *identity);

/** A zeroed struct, to be freed by VixDiskLib_FreeConnectParams; NULL if there is no memory. */
VixDiskLibConnectParams *VixDiskLib_AllocateConnectParams(void);

/** A copy of the parameters of a connection with copies of their strings, for VixDiskLib_FreeConnectParams. */
VixError VixDiskLib_GetConnectParams(const VixDiskLibConnection connection, VixDiskLibConnectParams **connectParams);

/** Frees a struct of VixDiskLib_AllocateConnectParams (not the strings that the program put into it) or of
 * VixDiskLib_GetConnectParams (with its strings). NULL is harmless. */
void VixDiskLib_FreeConnectParams(VixDiskLibConnectParams *connectParams);

/* ---- disks ---- */

/** Makes a new disk; never replaces a file; leaves nothing behind on failure. On a datastore it is thin for VMFS_THIN
 * and the sparse types, thick for the flat ones, and belongs to no virtual machine.
 * Return: VIX_E_FILE_ALREADY_EXISTS; VIX_E_FILE_TOO_BIG if the type or the file system cannot hold the capacity, or for
 * a hosted disk over 2 TB unless the configuration allows it; VIX_E_DISK_FULL; VIX_E_NOT_SUPPORTED for a type that
 * datastores do not have. */
VixError VixDiskLib_Create(const VixDiskLibConnection connection, const char *path,
                           const VixDiskLibCreateParams *createParams, VixDiskLibProgressFunc progressFunc,
                           void *progressCallbackData);

/** Makes a local child disk (monolithic or split sparse) on top of an open disk, local or on a server. */
VixError VixDiskLib_CreateChild(VixDiskLibHandle diskHandle, const char *childPath, VixDiskLibDiskType diskType,
                                VixDiskLibProgressFunc progressFunc, void *progressCallbackData);

/** Opens a disk.
 * @path the descriptor or the single file of a local disk, or "[datastore] dir/name.vmdk". @flags
 * VIXDISKLIB_FLAG_OPEN_ bits. @diskHandle set on success, for VixDiskLib_Close; NULL on failure.
 * Return, of disks on servers: VIX_E_VM_NOT_FOUND, VIX_E_FILE_NOT_FOUND, VIX_E_FILE_ALREADY_LOCKED,
 * VIX_E_FILE_ACCESS_ERROR for missing privileges, VIX_E_OUT_OF_MEMORY when the host has no NFC memory left,
 * VIX_E_HOST_NETBLKDEV_HANDSHAKE when the host does not keep to the protocol; those of VixDiskLib_ConnectEx about the
 * host that has the disk. */
VixError VixDiskLib_Open(const VixDiskLibConnection connection, const char *path, uint32 flags,
                         VixDiskLibHandle *diskHandle);

/** Closes a disk after its unfinished requests and running calls have ended. The handle is gone whatever is returned,
 * but for VIX_E_OBJECT_IS_BUSY: the call came from a callback of the disk itself, or from another completion callback
 * and would have to wait; nothing has happened. */
VixError VixDiskLib_Close(VixDiskLibHandle diskHandle);

/** Tells about an open disk. @info set to a struct for VixDiskLib_FreeInfo. */
VixError VixDiskLib_GetInfo(VixDiskLibHandle diskHandle, VixDiskLibInfo **info);

/** Frees what VixDiskLib_GetInfo made. NULL is harmless. */
void VixDiskLib_FreeInfo(VixDiskLibInfo *info);

/** The transport of an open disk: "file", "san", "hotadd", "nbdssl" or "nbd"; NULL for a handle that is not valid. */
const char *VixDiskLib_GetTransportMode(VixDiskLibHandle diskHandle);

/** Reads sectors. @readBuffer numSectors * 512 bytes. A read that fails leaves the buffer undefined.
 * Return: VIX_E_DISK_OUTOFRANGE beyond the capacity. No sectors is VIX_OK. */
VixError VixDiskLib_Read(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                         uint8 *readBuffer);

/** Writes sectors. Return: VIX_E_FILE_READ_ONLY on a handle opened read-only; VIX_E_HOST_TCP_CONN_LOST from then on
 * when the connection of a disk on a server is lost: reading goes on by a new connection, writing never does. */
VixError VixDiskLib_Write(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                          VixDiskLibSectorType numSectors, const uint8 *writeBuffer);

/** Reads sectors in the background. The buffer is the library's until the callback has run.
 * Return: VIX_ASYNC if accepted, and the callback then runs exactly once; anything else is a failure, without callback.
 */
VixError VixDiskLib_ReadAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                              VixDiskLibSectorType numSectors, uint8 *readBuffer, VixDiskLibCompletionCB callback,
                              void *cbData);

/** Writes sectors in the background; as VixDiskLib_ReadAsync. */
VixError VixDiskLib_WriteAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                               VixDiskLibSectorType numSectors, const uint8 *writeBuffer,
                               VixDiskLibCompletionCB callback, void *cbData);

/** Makes everything written so far survive a crash of the host. */
VixError VixDiskLib_Flush(VixDiskLibHandle diskHandle);

/** Waits until all requests of ReadAsync and WriteAsync on this disk have ended, callbacks included. */
VixError VixDiskLib_Wait(VixDiskLibHandle diskHandle);

/** Reads a value of the disk database. @key without "ddb.". @buf may be NULL with bufLen 0 to ask for the size.
 * @requiredLen set to the size of the value with its NUL, or NULL.
 * Return: VIX_E_DISK_KEY_NOTFOUND; VIX_E_BUFFER_TOOSMALL, the buffer is then untouched. */
VixError VixDiskLib_ReadMetadata(VixDiskLibHandle diskHandle, const char *key, char *buf, size_t bufLen,
                                 size_t *requiredLen);

/** Adds or replaces a value of the disk database. */
VixError VixDiskLib_WriteMetadata(VixDiskLibHandle diskHandle, const char *key, const char *val);

/** The keys of the disk database, each with its NUL, and one more NUL at the end; otherwise as VixDiskLib_ReadMetadata.
 */
VixError VixDiskLib_GetMetadataKeys(VixDiskLibHandle diskHandle, char *keys, size_t maxLen, size_t *requiredLen);

/** Removes a disk: its extents and its descriptor, not its parents. On a datastore the server does it, in its way. A
 * symbolic link to a local disk is refused with VIX_E_INCORRECT_FILE_TYPE. */
VixError VixDiskLib_Unlink(VixDiskLibConnection connection, const char *path);

/* ---- whole-disk operations ---- */

/** Makes a disk larger. @capacity the new size in sectors. @updateGeometry also writes new geometry keys. */
VixError VixDiskLib_Grow(VixDiskLibConnection connection, const char *path, VixDiskLibSectorType capacity,
                         Bool updateGeometry, VixDiskLibProgressFunc progressFunc, void *progressCallbackData);

/** Gives the space of grains that are all zero back to the file system. Local disks only, as VixDiskLib_Defragment,
 * Rename, CheckRepair and Reparent: VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT. */
VixError VixDiskLib_Shrink(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                           void *progressCallbackData);

/** Puts the grains of a sparse disk in order. */
VixError VixDiskLib_Defragment(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                               void *progressCallbackData);

/** Renames a local disk with all its files. A symbolic link to one is refused with VIX_E_INCORRECT_FILE_TYPE. */
VixError VixDiskLib_Rename(const char *srcFileName, const char *dstFileName);

/** Copies a disk: between local files, to, from and between servers. The chain of the source is flattened; the capacity
 * is the source's. A clone on a server is thin for VMFS_THIN, else thick (without vixCreateParams: as the source).
 * @overWrite replaces an existing destination, which must name no file of the source (VIX_E_INVALID_ARG); else
 * VIX_E_FILE_ALREADY_EXISTS. The old disk stays until the new one, which is made beside it ("x.part-1a2b3c4d.vmdk"), is
 * complete. On a server it is then deleted and the new one moved to its name; if only the move fails, the sentence
 * tells the name at which the new disk is. A server that moves no disks is found out before anything is copied: the
 * failure is its own, mostly VIX_E_NOT_SUPPORTED. */
VixError VixDiskLib_Clone(const VixDiskLibConnection dstConnection, const char *dstPath,
                          const VixDiskLibConnection srcConnection, const char *srcPath,
                          const VixDiskLibCreateParams *vixCreateParams, VixDiskLibProgressFunc progressFunc,
                          void *progressCallbackData, Bool overWrite);

/** The bytes that a clone of the given type needs. VIXDISKLIB_DISK_UNKNOWN: the type of the source. Of a disk on a
 * server what is allocated counts, without a look at the data. */
VixError VixDiskLib_SpaceNeededForClone(VixDiskLibHandle diskHandle, VixDiskLibDiskType cloneDiskType,
                                        uint64 *spaceNeeded);

/** Whether VixDiskLib_Attach of these two would work; VIX_OK, or what is in the way. */
VixError VixDiskLib_IsAttachPossible(VixDiskLibHandle parent, VixDiskLibHandle child);

/** Puts an open local child on top of an open parent, local or on a server. The child's handle then is the chain; the
 * parent's handle is gone, whatever is returned. The connection of a parent on a server may be ended while the child is
 * open. */
VixError VixDiskLib_Attach(VixDiskLibHandle parent, VixDiskLibHandle child);

/** Checks a disk. Return: VIX_OK if it is sound or was repaired; VIX_E_DISK_NEEDSREPAIR, VIX_E_DISK_CANTREPAIR. */
VixError VixDiskLib_CheckRepair(const VixDiskLibConnection connection, const char *filename, Bool repair);

/** Changes the recorded place of the parent of a hosted disk. */
VixError VixDiskLib_Reparent(const VixDiskLibConnection connection, const char *path, const char *parentHint);

/** The parts of a disk that hold data, in chunks; what is not listed reads as zeros.
 * @startSector a multiple of chunkSize below the capacity. @numSectors a multiple of it, or reaching the end; clipped
 * at the capacity;
 * @chunkSize at least VIXDISKLIB_MIN_CHUNK_SIZE; at most VIXDISKLIB_MAX_CHUNK_NUMBER chunks.
 * @blockList set to a list for VixDiskLib_FreeBlockList. */
VixError VixDiskLib_QueryAllocatedBlocks(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                                         VixDiskLibSectorType numSectors, VixDiskLibSectorType chunkSize,
                                         VixDiskLibBlockList **blockList);

/** Frees what VixDiskLib_QueryAllocatedBlocks made. NULL is harmless. */
VixError VixDiskLib_FreeBlockList(VixDiskLibBlockList *blockList);

/* ---- errors ---- */

/** The text of a code, in English; to be freed by VixDiskLib_FreeErrorText. Never NULL. @locale is not used. */
char *VixDiskLib_GetErrorText(VixError err, const char *locale);

/** Frees a text of VixDiskLib_GetErrorText. NULL is harmless. */
void VixDiskLib_FreeErrorText(char *errMsg);

#if defined(__cplusplus)
}
#endif

#endif /* _VIXDISKLIB_H_ */
