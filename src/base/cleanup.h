/* SPDX-License-Identifier: BSD-3-Clause */
/* cleanup.h - memory, file descriptors and locks that are released by scope. */
#ifndef VIXDISK_BASE_CLEANUP_H
#define VIXDISK_BASE_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_ptr(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close_fd(int *fd)
{
    if (*fd >= 0) {
        int e = errno;
        (void)close(*fd);
        errno = e;
    }
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    if (*m != NULL) {
        (void)pthread_mutex_unlock(*m);
    }
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *m)
{
    (void)pthread_mutex_lock(m);
    return m;
}

#define CLEANUP(fn) __attribute__((cleanup(fn)))
/** The variable's memory is freed at the end of its scope. */
#define CLEANUP_FREE CLEANUP(cleanup_free_ptr)
/** The file descriptor (-1: none) is closed at the end of its scope. */
#define CLEANUP_CLOSE CLEANUP(cleanup_close_fd)
#define CLEANUP_CAT_(a, b) a##b
#define CLEANUP_CAT(a, b) CLEANUP_CAT_(a, b)
/** Holds a mutex until the end of the scope. */
#define SCOPED_LOCK(m)                                                                                                 \
    __attribute__((unused, cleanup(cleanup_unlock))) pthread_mutex_t *CLEANUP_CAT(scoped_lock_, __LINE__) =            \
        cleanup_lock(m)
/** The pointer's value; the variable is NULL afterwards, so that its cleanup does nothing. */
#define TAKE_PTR(p)                                                                                                    \
    __extension__({                                                                                                    \
        __typeof__(p) take_ptr_ = (p);                                                                                 \
        (p) = NULL;                                                                                                    \
        take_ptr_;                                                                                                     \
    })

#endif
