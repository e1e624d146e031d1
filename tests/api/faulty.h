/* SPDX-License-Identifier: BSD-3-Clause */
/* faulty.h - makes a chosen system call, or a chosen request for memory, of the process fail. The program that links
 * faulty.c puts its own functions before those of the C library, for the library under test too: what is tried is the
 * library as it is installed. Syncs are counted but not done. Any thread. */
#ifndef TESTS_API_FAULTY_H
#define TESTS_API_FAULTY_H

#include <stdbool.h>
#include <stdint.h>

/* What is counted. */
#define FAULTY_OPEN (1u << 0)
#define FAULTY_READ (1u << 1)
#define FAULTY_WRITE (1u << 2) /* copies and preallocation too */
#define FAULTY_SIZE (1u << 3)  /* truncation, and asking for sizes, kinds and holes */
#define FAULTY_SYNC (1u << 4)
#define FAULTY_NAME (1u << 5) /* rename, link */
#define FAULTY_UNLINK (1u << 6)
#define FAULTY_MEMORY (1u << 7)
#define FAULTY_CONNECT (1u << 8) /* sockets that are made and connected */
#define FAULTY_SEND (1u << 9)
#define FAULTY_RECEIVE (1u << 10)
#define FAULTY_POLL (1u << 11)

#define FAULTY_SHORT (-1) /* instead of an errno: half of a read or write is done, without an error */
#define FAULTY_CUT (-2)   /* of a connection: it ends before the call, which then sees that */

/** With ECONNRESET a connection ends too: the other side sees that. From now on the nth call (1: the next; 0: none) of
 * these kinds fails as errnum says; all that follow it too if it stays. Counting begins at 0. */
void faulty_set(uint32_t kinds, uint64_t nth, int errnum, bool stays);

/** Ends it. The number of calls that were counted. */
uint64_t faulty_end(void);

/** Whether a call has been made to fail since faulty_set. */
bool faulty_hit(void);

/** Whether requests for memory can be made to fail: not where a sanitizer has taken malloc. */
bool faulty_has_memory(void);

/** Pieces of memory that are in use. 0 where faulty_has_memory is not. */
int64_t faulty_pieces(void);

#endif
