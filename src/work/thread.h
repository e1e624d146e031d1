/* SPDX-License-Identifier: BSD-3-Clause */
/* thread.h - how threads of this library are made: no signal is delivered to them (they belong to the program that
 * loaded the library), a name that tools show, a stack of a known size. */
#ifndef VIXDISK_WORK_THREAD_H
#define VIXDISK_WORK_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/** Starts a thread. @name at most 15 characters. 0 or an errno. */
int work_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *arg);

/** Says that the calling thread is a worker (work_on_worker). */
void work_thread_mark(void);

#endif
