/* SPDX-License-Identifier: BSD-3-Clause */
#include "work/thread.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/config.h"
#include "work/work.h"

/* Completion callbacks of programs run on these threads too, in whatever language. */
#define STACK_BYTES ((size_t)1024 * 1024)

#define THREADS_MAX 256u /* own: threads of a process */

static _Thread_local bool on_worker;

int work_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    sigset_t old;
    int e = pthread_attr_init(&attr);

    if (e != 0) {
        return e;
    }
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void)sigfillset(&all);
    /* a thread inherits the mask of its maker: at no moment may a signal find it */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    e = pthread_create(&thread, &attr, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    if (e == 0) {
        (void)pthread_setname_np(thread, name);
        *ret_thread = thread;
    }
    return e;
}

void work_thread_mark(void)
{
    on_worker = true;
}

bool work_on_worker(void)
{
    return on_worker;
}

static unsigned count_cores(void)
{
    cpu_set_t cores;

    if (sched_getaffinity(0, sizeof cores, &cores) == 0) {
        return (unsigned)CPU_COUNT(&cores);
    }
    /* more cores than the set has room for */
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < THREADS_MAX ? (unsigned)n : THREADS_MAX;
}

unsigned work_default_threads(void)
{
    uint64_t threads = config_number(CONFIG_THREADS, 0, 0, THREADS_MAX);

    if (threads == 0) {
        threads = count_cores();
    }
    return (unsigned)max_u64(1, min_u64(threads, THREADS_MAX));
}
