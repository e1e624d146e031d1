/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a command and writes how long it took, its peak of resident memory and the time that it had of processors to a
 * file descriptor.
 *
 * Linux carries the peak of a process over exec: a child started by a large interpreter has the interpreter's peak.
 * This program is small, so that what it starts shows its own.
 *
 * usage: run_child FD COMMAND [ARGUMENT...]     writes "SECONDS KIB CPU-SECONDS\n"; ends with its status */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fputs("usage: run_child FD COMMAND [ARGUMENT...]\n", stderr);
        return 125;
    }
    int fd = atoi(argv[1]);
    double start = now();
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return 125;
    }
    if (pid == 0) {
        (void)close(fd);
        (void)execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (wait4(pid, &status, 0, &usage) != pid) {
        perror("wait4");
        return 125;
    }
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (dprintf(fd, "%.6f %ld %.6f\n", now() - start, usage.ru_maxrss, cpu) < 0) {
        return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
