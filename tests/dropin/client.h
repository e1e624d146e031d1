/* SPDX-License-Identifier: BSD-3-Clause */
/* client.h - the library as a program sees it that finds every function by name, and the means to judge it. Each test
 * runs in a child process of its own with a library loaded anew: a crash is a failed test, not the end of the program.
 */
#ifndef VIXDISK_TESTS_DROPIN_CLIENT_H
#define VIXDISK_TESTS_DROPIN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "vixDiskLib.h"

/* Every function of the interface: X(name). */
#define FUNCTIONS(X)                                                                                                   \
    X(Init)                                                                                                            \
    X(InitEx)                                                                                                          \
    X(Exit)                                                                                                            \
    X(ListTransportModes)                                                                                              \
    X(Cleanup)                                                                                                         \
    X(Connect)                                                                                                         \
    X(ConnectEx)                                                                                                       \
    X(Disconnect)                                                                                                      \
    X(PrepareForAccess)                                                                                                \
    X(EndAccess)                                                                                                       \
    X(AllocateConnectParams)                                                                                           \
    X(GetConnectParams)                                                                                                \
    X(FreeConnectParams)                                                                                               \
    X(Create)                                                                                                          \
    X(CreateChild)                                                                                                     \
    X(Open)                                                                                                            \
    X(Close)                                                                                                           \
    X(GetInfo)                                                                                                         \
    X(FreeInfo)                                                                                                        \
    X(GetTransportMode)                                                                                                \
    X(Read)                                                                                                            \
    X(Write)                                                                                                           \
    X(ReadAsync)                                                                                                       \
    X(WriteAsync)                                                                                                      \
    X(Flush)                                                                                                           \
    X(Wait)                                                                                                            \
    X(ReadMetadata)                                                                                                    \
    X(WriteMetadata)                                                                                                   \
    X(GetMetadataKeys)                                                                                                 \
    X(Unlink)                                                                                                          \
    X(Grow)                                                                                                            \
    X(Shrink)                                                                                                          \
    X(Defragment)                                                                                                      \
    X(Rename)                                                                                                          \
    X(Clone)                                                                                                           \
    X(SpaceNeededForClone)                                                                                             \
    X(IsAttachPossible)                                                                                                \
    X(Attach)                                                                                                          \
    X(CheckRepair)                                                                                                     \
    X(Reparent)                                                                                                        \
    X(QueryAllocatedBlocks)                                                                                            \
    X(FreeBlockList)                                                                                                   \
    X(GetErrorText)                                                                                                    \
    X(FreeErrorText)

/** The functions, found by dlsym. */
struct client {
#define MEMBER(name) __typeof__(VixDiskLib_##name) *name;
    FUNCTIONS(MEMBER)
#undef MEMBER
};
extern struct client vix;

/** What the callbacks were told since client_start. */
struct heard {
    unsigned logs;
    unsigned warnings;
    unsigned panics;
    unsigned unended; /* messages without a newline at their end */
    bool version;     /* the line that KubeVirt's importer parses was among the log messages */
    char last_warning[1024];
};
extern struct heard heard;

/** Ends the test as failed. */
#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            client_fail(__FILE__, __LINE__, #what, VIX_OK);                                                            \
        }                                                                                                              \
    } while (0)
/** A call that must return exactly this. */
#define RETURNS(want, call)                                                                                            \
    do {                                                                                                               \
        VixError returned_ = (call);                                                                                   \
        if (returned_ != (VixError)(want)) {                                                                           \
            client_fail(__FILE__, __LINE__, #call " == " #want, returned_);                                            \
        }                                                                                                              \
    } while (0)
#define OK(call) RETURNS(VIX_OK, call)
/** A call that must fail with a plain code: a known one, upper bits 0. */
#define FAILS(call)                                                                                                    \
    do {                                                                                                               \
        VixError returned_ = (call);                                                                                   \
        if (returned_ == VIX_OK || returned_ > 0xffff || returned_ == VIX_ASYNC) {                                     \
            client_fail(__FILE__, __LINE__, #call " fails with a plain code", returned_);                              \
        }                                                                                                              \
    } while (0)

void client_fail(const char *file, int line, const char *what, VixError err) __attribute__((noreturn));

/** Loads the library as nbdkit does. */
void client_load(void);
/** Loads it and calls InitEx with the version, callbacks that count, and the install root as libDir. */
void client_start(unsigned major, unsigned minor);
/** As above with 6.5, and a local connection as nbdkit makes it. */
VixDiskLibConnection client_connect(void);
/** Disconnects and ends the library. */
void client_end(VixDiskLibConnection conn);
/** A path in the folder of this test; static, good for the next three calls. */
const char *client_path(const char *name);
/** Makes a disk of megabytes and a kind. */
void client_create(VixDiskLibConnection conn, const char *path, VixDiskLibDiskType type, unsigned mib);
/** len bytes that end where memory that may not be touched begins. */
void *client_at_end_of_memory(size_t len);
/** Bytes that tell place and seed. */
void client_pattern(unsigned char *buf, size_t len, uint64 start, unsigned seed);

/** The rules of each file: run one after another by client_main. */
struct client_test {
    const char *name;
    void (*run)(void);
};
extern const struct client_test rule_tests[];
extern const struct client_test order_tests[];

#endif
