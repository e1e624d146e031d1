/* SPDX-License-Identifier: BSD-3-Clause */
/* run.c - runs one command, from its arguments to its exit status. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (strcmp(commands[i]->name, name) == 0 ||
            (commands[i]->alias != NULL && strcmp(commands[i]->alias, name) == 0)) {
            return commands[i];
        }
    }
    return NULL;
}

int command_run(const struct command *command, int argc, char **argv)
{
    struct cli cli = {.command = command, .argv = argv};
    void *args = calloc(1, command->args_size + 1);
    if (args == NULL) {
        return fail_with(&cli, NULL, VIX_E_OUT_OF_MEMORY, "%zu bytes", command->args_size);
    }
    int status = options_parse(&cli, args, argc, argv);
    if (status < 0) {
        status = command->run(&cli, args);
        cli_end(&cli);
    }
    free(args);
    return finish_output(command->name, status);
}

/** Gives 0, 1 and 2 a place if the caller closed them: the next file that is opened, a disk, would get that number, and
 * what is printed would be written into it. Using the replacements fails. */
static void hold_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            _exit(STATUS_FAILED);
        }
    }
}

void program_begin(void)
{
    /* A closed pipe is an error of write(2) here: the command then removes what it began, and says nothing. */
    signal(SIGPIPE, SIG_IGN);
    hold_standard_descriptors();
}
