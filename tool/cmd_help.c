/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_help.c - help, made from the tables of the commands: for people, and as JSON, from which the manuals and the
 * completion of bash are made. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "json.h"
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

/** How a value is written: what a program has to offer for it. */
static const char *kind_name(enum option_kind kind)
{
    switch (kind) {
    case OPTION_FLAG:
    case OPTION_HELP:
        return "flag";
    case OPTION_BYTES:
    case OPTION_SECTORS:
        return "bytes";
    case OPTION_NUMBER:
        return "number";
    case OPTION_TYPE:
        return "type";
    case OPTION_ANY_TYPE:
        return "any-type";
    case OPTION_ADAPTER:
        return "adapter";
    case OPTION_SETTING:
        return "setting";
    case OPTION_PROGRESS:
        return "progress";
    case OPTION_END:
    case OPTION_TEXT:
    case OPTION_FORMAT:
    case OPTION_OUTPUT:
        break;
    }
    return "text";
}

static void add_options_json(struct json_object *array, const char *group, const struct option_spec *specs)
{
    for (; specs != NULL && specs->kind != OPTION_END; specs++) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "name", specs->name);
        if (specs->letter != 0) {
            json_object_object_add(object, "letter", json_object_new_string_len(&specs->letter, 1));
        }
        json_add_text(object, "kind", kind_name(specs->kind));
        if (specs->arg != NULL) {
            json_add_text(object, "value", specs->arg);
        }
        json_add_text(object, "group", group);
        json_add_text(object, "help", specs->help);
        json_object_array_add(array, object);
    }
}

static struct json_object *command_json(const struct command *command)
{
    static const struct {
        enum option_group group;
        const char *name;
    } groups[] = {{GROUP_DISKS, "disks"}, {GROUP_JSON, "json"}, {GROUP_PROGRESS, "progress"}, {GROUP_REMOTE, "server"}};
    struct json_object *object = json_object_new_object();
    struct json_object *options = json_object_new_array();
    json_add_text(object, "name", command->name);
    if (command->alias != NULL) {
        json_add_text(object, "alias", command->alias);
    }
    json_add_text(object, "usage", command->usage);
    json_add_text(object, "summary", command->summary);
    if (command->details != NULL) {
        json_add_text(object, "details", command->details);
    }
    json_object_object_add(object, "max-operands", json_object_new_int(command->max_operands));
    add_options_json(options, "own", command->options);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (command->groups & groups[i].group) {
            add_options_json(options, groups[i].name, group_options(groups[i].group));
        }
    }
    add_options_json(options, "help", group_options((enum option_group)0));
    json_object_object_add(object, "options", options);
    return object;
}

static struct json_object *types_json(void)
{
    struct json_object *array = json_object_new_array();
    const char *others;
    const char *name;
    for (size_t i = 0; (name = type_list(i, &others)) != NULL; i++) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "name", name);
        json_add_text(object, "also", others);
        json_object_array_add(array, object);
    }
    return array;
}

/** All commands, or the one that is given. */
static void print_json(const struct command *only)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (only == NULL || only == commands[i]) {
            json_object_array_add(array, command_json(commands[i]));
        }
    }
    json_add_text(object, "version", VixDiskLibExt_Version());
    json_object_object_add(object, "commands", array);
    json_object_object_add(object, "types", types_json());
    json_print(object);
}

static int run(struct cli *cli, const void *args)
{
    (void)args;
    const struct command *command = cli->noperands == 0 ? NULL : command_find(cli->operands[0]);
    if (cli->noperands != 0 && command == NULL) {
        return usage_error(cli, "there is no command \"%s\"", cli->operands[0]);
    }
    if (cli->common.json) {
        print_json(command);
    } else if (command == NULL) {
        help_overview();
    } else {
        help_command(command);
    }
    return STATUS_DONE;
}

const struct command command_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "tell about the commands",
    .groups = GROUP_JSON,
    .max_operands = 1,
    .run = run,
};
