/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing. The way of a good Read or Write: pin the handle, check the range, go down; no lock, no memory.
 */
#include "api/api.h"

#include <stdlib.h>

static __attribute__((noinline, cold)) VixError no_buffer(struct api_call *call)
{
    return call_need(call, NULL, "buffer");
}

VixError VixDiskLib_Read(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                         uint8 *readBuffer)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = readBuffer != NULL || numSectors == 0 ? disk_read(d, startSector, numSectors, readBuffer, &call.err)
                                                     : no_buffer(&call);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Write(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                          VixDiskLibSectorType numSectors, const uint8 *writeBuffer)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = writeBuffer != NULL || numSectors == 0 ? disk_write(d, startSector, numSectors, writeBuffer, &call.err)
                                                      : no_buffer(&call);
    }
    return call_end(&call, code);
}

/* ---- in the background ---- */

/** A request whose end the client is to be told of. */
struct request {
    VixDiskLibCompletionCB callback; /* or NULL */
    void *data;
    const struct disk *disk;
    struct slot *slot;
    const char *name;
};

/** Calls a client's completion callback.
 * Programs of the 6.0 interface have a callback (data, sector, result), those of 6.5 and later (data, result), and
 * nothing tells which. Where arguments travel in registers one call serves both: the first finds its result in the
 * third argument, the second in the second. Elsewhere the newer form is used. */
static void tell_client(VixDiskLibCompletionCB callback, void *data, VixError result)
{
#if defined(__x86_64__) || defined(__aarch64__)
    typedef void either_callback(void *data, uint64 result_or_sector, VixError result);
    either_callback *either = __extension__(either_callback *)(void *) callback;
    either(data, result, result);
#else
    callback(data, result);
#endif
}

static void request_done(void *data, VixError result, const struct err *err)
{
    struct request *r = data;
    struct api_call call;

    if (result != VIX_OK) {
        call_report(r->name, r->disk->path, result, err);
    }
    if (r->callback != NULL) {
        call_enter_callback(&call, r->slot);
        tell_client(r->callback, r->data, result);
        call_leave_callback(&call);
    }
    free(r);
}

/** What ReadAsync and WriteAsync have in common: writeBuffer is NULL for a read. */
static VixError start_request(struct api_call *call, struct disk *d, uint64_t sector, uint64_t nsectors, void *read_buf,
                              const void *write_buf, VixDiskLibCompletionCB callback, void *data)
{
    struct request *r = malloc(sizeof *r);

    if (r == NULL) {
        return err_set(&call->err, VIX_E_OUT_OF_MEMORY, "no memory for a request");
    }
    *r = (struct request){.callback = callback, .data = data, .disk = d, .slot = call->pins[0], .name = call->name};
    VixError code = read_buf != NULL ? disk_read_async(d, sector, nsectors, read_buf, request_done, r, &call->err)
                                     : disk_write_async(d, sector, nsectors, write_buf, request_done, r, &call->err);
    if (code != VIX_OK) {
        free(r);
        return code;
    }
    return VIX_ASYNC;
}

VixError VixDiskLib_ReadAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                              VixDiskLibSectorType numSectors, uint8 *readBuffer, VixDiskLibCompletionCB callback,
                              void *cbData)
{
    struct api_call call;
    struct disk *d;
    uint8 nothing;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && readBuffer == NULL) {
        readBuffer = &nothing; /* of a request for no sectors nothing is touched */
        code = numSectors == 0 ? VIX_OK : no_buffer(&call);
    }
    if (code == VIX_OK) {
        code = start_request(&call, d, startSector, numSectors, readBuffer, NULL, callback, cbData);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_WriteAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                               VixDiskLibSectorType numSectors, const uint8 *writeBuffer,
                               VixDiskLibCompletionCB callback, void *cbData)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && writeBuffer == NULL && numSectors != 0) {
        code = no_buffer(&call);
    }
    if (code == VIX_OK) {
        code = start_request(&call, d, startSector, numSectors, NULL, writeBuffer, callback, cbData);
    }
    return call_end(&call, code);
}

VixError VixDiskLib_Wait(VixDiskLibHandle diskHandle)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK) {
        code = disk_wait(d, &call.err);
    }
    return call_end(&call, code);
}

/** Before 6.5 there was no Wait, and Flush did that too. */
static bool flush_waits(void)
{
    return library_major() < 6 || (library_major() == 6 && library_minor() < 5);
}

VixError VixDiskLib_Flush(VixDiskLibHandle diskHandle)
{
    struct api_call call;
    struct disk *d;

    VixError code = call_on_disk(&call, __func__, diskHandle, &d);
    if (code == VIX_OK && flush_waits()) {
        code = disk_wait(d, &call.err);
    }
    if (code == VIX_OK) {
        code = d->ops->flush(d, &call.err);
    }
    return call_end(&call, code);
}
