/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_help.c - help, made from the tables of the commands. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "text.h"

#define HELP_COLUMN 30

static void print_option(const struct option_spec *spec)
{
    char left[96];
    const char *equals = spec->arg == NULL ? "" : spec->kind == OPTION_PROGRESS ? "[=" : "=";
    const char *arg = spec->arg == NULL ? "" : spec->arg;
    const char *close = spec->kind == OPTION_PROGRESS ? "]" : "";
    char letter[5] = "    ";
    if (spec->letter != 0) {
        snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    }
    int len = snprintf(left, sizeof left, "  %s--%s%s%s%s", letter, spec->name, equals, arg, close);
    if (len >= HELP_COLUMN) {
        printf("%s\n%*s%s\n", left, HELP_COLUMN, "", spec->help);
    } else {
        printf("%-*s%s\n", HELP_COLUMN, left, spec->help);
    }
}

static void print_options(const struct option_spec *specs)
{
    for (; specs != NULL && specs->kind != OPTION_END; specs++) {
        print_option(specs);
    }
}

static bool has_type_option(const struct option_spec *specs)
{
    for (; specs != NULL && specs->kind != OPTION_END; specs++) {
        if (specs->kind == OPTION_TYPE || specs->kind == OPTION_ANY_TYPE) {
            return true;
        }
    }
    return false;
}

static void print_types(void)
{
    const char *others;
    const char *name;
    printf("\nTypes (upper and lower case are the same):\n");
    for (size_t i = 0; (name = type_list(i, &others)) != NULL; i++) {
        printf("  %-26s  also: %s\n", name, others);
    }
}

void help_command(const struct command *command)
{
    printf("vixdisk %s: %s\n\n", command->name, command->summary);
    printf("Usage: vixdisk %s [options] %s\n", command->name, command->usage);
    if (command->alias != NULL) {
        printf("Also:  vixdisk %s\n", command->alias);
    }
    if (command->details != NULL) {
        printf("\n%s\n", command->details);
    }
    printf("\nOptions:\n");
    print_options(command->options);
    for (unsigned group = GROUP_DISKS; group <= GROUP_LAST; group <<= 1) {
        if (command->groups & group) {
            print_options(group_options((enum option_group)group));
        }
    }
    print_options(group_options((enum option_group)0));
    if (command->groups & GROUP_REMOTE) {
        printf("\nWhat concerns a server can also come from variables, VIXDISK_HOST for --host and so on, and from\n"
               "GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_INSECURE; VIXDISK_PASSWORD holds a password.\n");
    }
    if (has_type_option(command->options)) {
        print_types();
    }
}

void help_overview(void)
{
    printf("vixdisk: works with VMDK virtual disks\n\nUsage: vixdisk COMMAND [options] ARGUMENTS\n\nCommands:\n");
    for (size_t i = 0; commands[i] != NULL; i++) {
        printf("  %-12s%s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n'vixdisk help COMMAND' tells about one. 'vixdisk --version' prints the version.\n"
           "Sizes and offsets are bytes; suffixes K M G T P are powers of 1024, s is a sector of 512 bytes.\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage, 75 failed but a retry may help.\n");
}

static int run(struct cli *cli, const void *args)
{
    (void)args;
    if (cli->noperands == 0) {
        help_overview();
        return STATUS_DONE;
    }
    const struct command *command = command_find(cli->operands[0]);
    if (command == NULL) {
        return usage_error(cli, "there is no command \"%s\"", cli->operands[0]);
    }
    help_command(command);
    return STATUS_DONE;
}

const struct command command_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "tell about the commands",
    .max_operands = 1,
    .run = run,
};
