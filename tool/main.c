/* SPDX-License-Identifier: BSD-3-Clause */
/* main.c - vixdisk: a command line over the public VixDiskLib interface. Picks the command. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

const struct command *const commands[] = {
    &command_create,
    &command_info,
    &command_map,
    &command_read,
    &command_write,
    &command_convert,
    &command_check,
    &command_compare,
    &command_hash,
    &command_changes,
    &command_sync,
    &command_meta,
    &command_snapshot,
    &command_commit,
    &command_grow,
    &command_shrink,
    &command_defrag,
    &command_rename,
    &command_rm,
    &command_measure,
    &command_bench,
    &command_ls,
    &command_mount,
    &command_thumbprint,
    &command_transports,
    &command_doctor,
    &command_errors,
    &command_help,
    NULL,
};

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

int main(int argc, char **argv)
{
    program_begin();
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
