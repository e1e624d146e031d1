/* SPDX-License-Identifier: BSD-3-Clause */
/* What vixDiskLibExt.h has for servers: fingerprints, traffic, the inventory. */
#include "api/api.h"

#include <stdlib.h>

VixError VixDiskLibExt_Thumbprint(const char *serverName, uint32 port, uint32 timeoutMs, char *sha1, size_t sha1Size,
                                  char *sha256, size_t sha256Size)
{
    struct api_call call;

    (void)port, (void)timeoutMs, (void)sha1, (void)sha1Size, (void)sha256, (void)sha256Size;
    VixError code = call_on_library(&call, __func__, serverName);
    if (code == VIX_OK) {
        code = err_set(&call.err, VIX_E_NOT_SUPPORTED, "this version opens local disks only");
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_GetTraffic(VixDiskLibHandle diskHandle, uint64 *bytesIn, uint64 *bytesOut)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && bytesIn != NULL) {
        *bytesIn = 0;
    }
    if (code == VIX_OK && bytesOut != NULL) {
        *bytesOut = 0;
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_GetConnectionTraffic(VixDiskLibConnection connection, uint64 *bytesIn, uint64 *bytesOut)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK && bytesIn != NULL) {
        *bytesIn = 0;
    }
    if (code == VIX_OK && bytesOut != NULL) {
        *bytesOut = 0;
    }
    return call_end(&call, code);
}

VixError VixDiskLibExt_ListInventory(VixDiskLibConnection connection, VixDiskLibExt_Inventory **inventory)
{
    struct api_call call;
    struct connection *c;

    VixError code = call_on_connection(&call, __func__, NULL, connection, &c);
    if (code == VIX_OK) {
        code = call_need(&call, inventory, "place for the inventory");
    }
    if (code == VIX_OK) {
        code = err_set(&call.err, VIX_E_NOT_SUPPORTED, "the connection is to the local host, which has no inventory");
    }
    return call_end(&call, code);
}

void VixDiskLibExt_FreeInventory(VixDiskLibExt_Inventory *inventory)
{
    free(inventory);
}
