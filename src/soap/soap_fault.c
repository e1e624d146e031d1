/* SPDX-License-Identifier: BSD-3-Clause */
/* soap_fault.c - what the faults of vSphere mean in codes of VixDiskLib. */
#include <stddef.h>
#include <string.h>

#include "soap/soap.h"

struct fault_row {
    const char *type;
    VixError code;
};

static const struct fault_row fault_table[] = {
    {"InvalidLogin", VIX_E_HOST_USER_PERMISSIONS},
    {"InvalidLocale", VIX_E_HOST_USER_PERMISSIONS},
    {"NoPermission", VIX_E_HOST_USER_PERMISSIONS},
    {"NotAuthenticated", VIX_E_INVALID_AUTHENTICATION_SESSION},
    {"ManagedObjectNotFound", VIX_E_OBJECT_NOT_FOUND},
    {"InvalidArgument", VIX_E_INVALID_ARG},
    {"InvalidRequest", VIX_E_INVALID_ARG},
    {"InvalidProperty", VIX_E_INVALID_ARG},
    {"InvalidName", VIX_E_INVALID_ARG},
    {"InvalidDatastorePath", VIX_E_INVALID_ARG},
    {"MethodNotFound", VIX_E_NOT_SUPPORTED},
    {"NotSupported", VIX_E_NOT_SUPPORTED},
    {"NotImplemented", VIX_E_NOT_SUPPORTED},
    {"NotSupportedHost", VIX_E_NOT_SUPPORTED},
    {"InvalidDeviceSpec", VIX_E_NOT_SUPPORTED},
    {"InvalidDeviceBacking", VIX_E_NOT_SUPPORTED},
    {"FileNotFound", VIX_E_FILE_NOT_FOUND},
    {"InvalidDatastore", VIX_E_FILE_NOT_FOUND},
    {"NotFound", VIX_E_FILE_NOT_FOUND},
    {"FileAlreadyExists", VIX_E_FILE_ALREADY_EXISTS},
    {"DuplicateName", VIX_E_FILE_ALREADY_EXISTS},
    {"AlreadyExists", VIX_E_FILE_ALREADY_EXISTS},
    {"FileLocked", VIX_E_FILE_ALREADY_LOCKED},
    {"CannotAccessFile", VIX_E_FILE_ACCESS_ERROR},
    {"FileFault", VIX_E_FILE_ACCESS_ERROR},
    {"CannotDeleteFile", VIX_E_FILE_ACCESS_ERROR},
    {"FileTooLarge", VIX_E_FILE_TOO_BIG},
    {"NoDiskSpace", VIX_E_DISK_FULL},
    {"InsufficientStorageSpace", VIX_E_DISK_FULL},
    {"TaskInProgress", VIX_E_OBJECT_IS_BUSY},
    {"ResourceInUse", VIX_E_OBJECT_IS_BUSY},
    {"ConcurrentAccess", VIX_E_OBJECT_IS_BUSY},
    {"HostNotConnected", VIX_E_HOST_NOT_CONNECTED},
    {"HostNotReachable", VIX_E_HOST_NOT_CONNECTED},
    {"HostConnectFault", VIX_E_HOST_NOT_CONNECTED},
    {"HostCommunication", VIX_E_HOST_CONNECTION_LOST},
    {"InvalidPowerState", VIX_E_VM_IS_RUNNING},
    {"MethodDisabled", VIX_E_OPERATION_DISABLED},
    {"MethodAlreadyDisabledFault", VIX_E_OBJECT_IS_BUSY},
    {"RestrictedVersion", VIX_E_LICENSE},
    {"LicenseExpired", VIX_E_LICENSE},
    {"NotEnoughLicenses", VIX_E_LICENSE},
    {"SnapshotFault", VIX_E_SNAPSHOT_INVAL},
    {"SnapshotDisabled", VIX_E_SNAPSHOT_INVAL},
    {"SnapshotIncompatibleDeviceInVm", VIX_E_SNAPSHOT_INVAL},
    {"SnapshotNoChange", VIX_E_SNAPSHOT_NOCHANGE},
    {"SnapshotLocked", VIX_E_SNAPSHOT_LOCKED},
    {"TooManySnapshotLevels", VIX_E_SNAPSHOT_MAXSNAPSHOTS},
};

VixError soap_fault_code(const char *fault_type)
{
    for (size_t i = 0; i < sizeof fault_table / sizeof fault_table[0]; i++) {
        if (strcmp(fault_table[i].type, fault_type) == 0) {
            return fault_table[i].code;
        }
    }
    return VIX_E_FAIL;
}
