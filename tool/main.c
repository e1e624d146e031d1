/* SPDX-License-Identifier: BSD-3-Clause */
/* main.c - vixdisk: a command line over the public VixDiskLib interface. Picks the command and ends it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"

const struct command *const commands[] = {
    &command_create,     &command_info,       &command_map,     &command_read,    &command_write,
    &command_convert,    &command_check,      &command_compare, &command_changes, &command_meta,
    &command_snapshot,   &command_commit,     &command_grow,    &command_shrink,  &command_defrag,
    &command_rename,     &command_rm,         &command_measure, &command_bench,   &command_ls,
    &command_thumbprint, &command_transports, &command_errors,  &command_help,    NULL,
};

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
    struct cli cli = {.command = command};
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

static int print_version(void)
{
    printf("vixdisk %s\n", VixDiskLibExt_Version());
    printf("A free implementation of the VixDiskLib interface. Licence: BSD-3-Clause.\n");
    return finish_output("--version", STATUS_DONE);
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "vixdisk: %s: there is no such command (see 'vixdisk help')\n", name);
    return STATUS_USAGE;
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

int main(int argc, char **argv)
{
    /* A closed pipe is an error of write(2) here: the command then removes what it began, and says nothing. */
    signal(SIGPIPE, SIG_IGN);
    hold_standard_descriptors();
    if (argc < 2) {
        fprintf(stderr, "vixdisk: a command is missing (see 'vixdisk help')\n");
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        return print_version();
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_overview();
        return finish_output("help", STATUS_DONE);
    }
    const struct command *command = command_find(argv[1]);
    return command == NULL ? unknown_command(argv[1]) : command_run(command, argc - 1, argv + 1);
}
