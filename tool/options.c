/* SPDX-License-Identifier: BSD-3-Clause */
/* options.c - reads a command line by the tables of a command. Knows the kinds of values, not the commands. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

#define OPTIONS_MAX 64
#define FD_MAX 65535u
#define LONG_ONLY 256 /* val of the first option without a letter */

static const struct option_spec disk_options[] = {
    {.name = "config",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, config),
     .arg = "FILE",
     .help = "read the library's configuration from FILE"},
    {.name = "set",
     .kind = OPTION_SETTING,
     .at = offsetof(struct common_args, settings),
     .arg = "NAME=VALUE",
     .help = "set one line of the library's configuration (repeatable)"},
    {.name = "allow-outside",
     .kind = OPTION_FLAG,
     .at = offsetof(struct common_args, allow_outside),
     .help = "follow extents and parents outside the folder of the disk"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     .at = offsetof(struct common_args, quiet),
     .help = "no progress and no remarks, only failures"},
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_FLAG,
     .at = offsetof(struct common_args, verbose),
     .help = "print the library's messages on standard error"},
    {.kind = OPTION_END},
};

static const struct option_spec json_options[] = {
    {.name = "json",
     .kind = OPTION_FLAG,
     .at = offsetof(struct common_args, json),
     .help = "print JSON; a failure is an object with code, name, message, retryable"},
    {.name = "output",
     .kind = OPTION_OUTPUT,
     .at = offsetof(struct common_args, json),
     .arg = "json|human",
     .help = "the same as --json, or as its absence"},
    {.kind = OPTION_END},
};

static const struct option_spec progress_options[] = {
    {.name = "progress",
     .letter = 'p',
     .kind = OPTION_PROGRESS,
     .at = offsetof(struct common_args, progress),
     .arg = "FD",
     .help = "show progress, on a terminal or not; with FD: lines N/100 on that descriptor"},
    {.kind = OPTION_END},
};

/* Each can also be given as a variable: VIXDISK_HOST for --host, and so on. */
static const struct option_spec remote_options[] = {
    {.name = "host",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.host),
     .arg = "NAME",
     .help = "server: vCenter or ESXi, NAME or NAME:PORT; paths \"[datastore] dir/x.vmdk\" are there"},
    {.name = "port",
     .kind = OPTION_NUMBER,
     .at = offsetof(struct common_args, remote.port),
     .arg = "PORT",
     .help = "port of the server (default: 443)",
     .low = 1,
     .high = 65535},
    {.name = "nfc-port",
     .kind = OPTION_NUMBER,
     .at = offsetof(struct common_args, remote.nfc_port),
     .arg = "PORT",
     .help = "port of the hosts' NFC service (default: as the server says)",
     .low = 1,
     .high = 65535},
    {.name = "user",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.user),
     .arg = "NAME",
     .help = "user of the server"},
    {.name = "password-file",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.password_file),
     .arg = "FILE",
     .help = "the password is the first line of FILE"},
    {.name = "password-fd",
     .kind = OPTION_NUMBER,
     .at = offsetof(struct common_args, remote.password_fd),
     .arg = "N",
     .help = "the password is the first line that comes through descriptor N; else it is asked for",
     .high = FD_MAX},
    {.name = "cookie-file",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.cookie_file),
     .arg = "FILE",
     .help = "in their place: the cookie of a session, the first line of FILE"},
    {.name = "thumbprint",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.thumbprint),
     .arg = "HEX",
     .help = "SHA-1 or SHA-256 of the server's certificate (default: check its chain)"},
    {.name = "vm",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.vm),
     .arg = "SPEC",
     .help = "machine that has the disk: moref=vm-16, or a path of its .vmx"},
    {.name = "snapshot",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.snapshot),
     .arg = "MOREF",
     .help = "disks as of a snapshot: snapshot-44"},
    {.name = "transport",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.transport),
     .arg = "LIST",
     .help = "ways to the disk, tried in order (default: file:san:nbdssl:nbd; there is hotadd too)"},
    {.name = "compress",
     .kind = OPTION_TEXT,
     .at = offsetof(struct common_args, remote.compress),
     .arg = "none|zlib|fastlz|skipz",
     .help = "compression on the way (default: none)"},
    {.kind = OPTION_END},
};

static const struct option_spec help_options[] = {
    {.name = "help", .letter = 'h', .kind = OPTION_HELP, .help = "print this help"},
    {.kind = OPTION_END},
};

const struct option_spec *group_options(enum option_group group)
{
    switch (group) {
    case GROUP_DISKS:
        return disk_options;
    case GROUP_JSON:
        return json_options;
    case GROUP_PROGRESS:
        return progress_options;
    case GROUP_REMOTE:
        return remote_options;
    }
    return help_options;
}

/** The option tables of a command in the form that getopt_long wants, and where each value goes. */
struct option_set {
    const struct option_spec *specs[OPTIONS_MAX];
    void *bases[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 + OPTIONS_MAX * 3];
    size_t count;
};

static bool takes_value(enum option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_HELP;
}

static void add_letter(struct option_set *set, const struct option_spec *spec)
{
    size_t len = strlen(set->letters);
    set->letters[len++] = spec->letter;
    if (takes_value(spec->kind) && spec->kind != OPTION_PROGRESS) {
        set->letters[len++] = ':';
    }
    set->letters[len] = '\0';
}

/** Adds a table to the set; what does not fit would be a mistake in the tables, which the tests find. */
static void add_options(struct option_set *set, const struct option_spec *specs, void *base)
{
    for (; specs != NULL && specs->kind != OPTION_END && set->count < OPTIONS_MAX; specs++) {
        int has_arg = !takes_value(specs->kind)        ? no_argument
                      : specs->kind == OPTION_PROGRESS ? optional_argument
                                                       : required_argument;
        set->specs[set->count] = specs;
        set->bases[set->count] = base;
        set->longs[set->count] = (struct option){specs->name, has_arg, NULL, LONG_ONLY + (int)set->count};
        if (specs->letter != 0) {
            add_letter(set, specs);
        }
        set->count++;
    }
}

static void make_set(struct option_set *set, struct cli *cli, void *args)
{
    *set = (struct option_set){.letters = ":"};
    add_options(set, cli->command->options, args);
    for (unsigned group = GROUP_DISKS; group <= GROUP_LAST; group <<= 1) {
        if (cli->command->groups & group) {
            add_options(set, group_options((enum option_group)group), &cli->common);
        }
    }
    add_options(set, help_options, NULL);
}

/** The index of what getopt_long returned; count if there is none. */
static size_t option_index(const struct option_set *set, int found)
{
    if (found >= LONG_ONLY) {
        return (size_t)(found - LONG_ONLY);
    }
    size_t i = 0;
    while (i < set->count && set->specs[i]->letter != found) {
        i++;
    }
    return i;
}

static int set_bytes(const struct cli *cli, const struct option_spec *spec, struct bytes_arg *arg, const char *value)
{
    const char *wrong = parse_bytes(value, &arg->bytes);
    if (wrong != NULL) {
        return usage_error(cli, "--%s: \"%s\" %s", spec->name, value, wrong);
    }
    if (spec->kind == OPTION_SECTORS && arg->bytes % SECTOR_BYTES != 0) {
        return usage_error(cli, "--%s: %llu is not a multiple of 512 bytes", spec->name,
                           (unsigned long long)arg->bytes);
    }
    arg->given = true;
    return -1;
}

static int set_number(const struct cli *cli, const struct option_spec *spec, struct number_arg *arg, const char *value)
{
    if (!parse_number(value, spec->low, spec->high, &arg->value)) {
        return usage_error(cli, "--%s: \"%s\" is not a number from %u to %u", spec->name, value, spec->low, spec->high);
    }
    arg->given = true;
    return -1;
}

static int set_type(const struct cli *cli, const struct option_spec *spec, struct type_arg *arg, const char *value)
{
    arg->raw = spec->kind == OPTION_ANY_TYPE && strcmp(value, "raw") == 0;
    if (!arg->raw && !parse_type(value, &arg->type)) {
        return usage_error(cli, "--%s: unknown type \"%s\"", spec->name, value);
    }
    arg->given = true;
    return -1;
}

static int set_format(const struct cli *cli, const struct option_spec *spec, enum disk_format *arg, const char *value)
{
    if (strcmp(value, "raw") == 0) {
        *arg = FORMAT_RAW;
    } else if (strcmp(value, "vmdk") == 0) {
        *arg = FORMAT_VMDK;
    } else {
        return usage_error(cli, "--%s: \"%s\" is neither vmdk nor raw", spec->name, value);
    }
    return -1;
}

static int set_setting(const struct cli *cli, const char **settings, const char *value)
{
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value) {
        return usage_error(cli, "--set: \"%s\" is not of the form NAME=VALUE", value);
    }
    for (size_t i = 0; i < SETTINGS_MAX; i++) {
        if (settings[i] == NULL) {
            settings[i] = value;
            return -1;
        }
    }
    return usage_error(cli, "--set: at most %d settings", SETTINGS_MAX);
}

static int set_output(const struct cli *cli, bool *arg, const char *value)
{
    *arg = strcmp(value, "json") == 0;
    if (!*arg && strcmp(value, "human") != 0) {
        return usage_error(cli, "--output: \"%s\" is neither json nor human", value);
    }
    return -1;
}

static int set_progress(const struct cli *cli, struct progress_arg *arg, const char *value)
{
    uint32_t fd = 0;
    arg->given = true;
    arg->fd = -1;
    if (value == NULL) {
        return -1;
    }
    if (!parse_number(value, 1, FD_MAX, &fd)) {
        return usage_error(cli, "--progress: \"%s\" is not a file descriptor", value);
    }
    arg->fd = (int)fd;
    return -1;
}

/** Puts a value where it belongs; -1, or the status of a mistake that was reported. */
static int set_option(const struct cli *cli, const struct option_spec *spec, void *base, const char *value)
{
    void *at = (char *)base + spec->at;
    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)at = true;
        return -1;
    case OPTION_TEXT:
        *(const char **)at = value;
        return -1;
    case OPTION_BYTES:
    case OPTION_SECTORS:
        return set_bytes(cli, spec, at, value);
    case OPTION_NUMBER:
        return set_number(cli, spec, at, value);
    case OPTION_TYPE:
    case OPTION_ANY_TYPE:
        return set_type(cli, spec, at, value);
    case OPTION_FORMAT:
        return set_format(cli, spec, at, value);
    case OPTION_ADAPTER:
        return parse_adapter(value, at)
                   ? -1
                   : usage_error(cli, "--%s: \"%s\" is none of ide, buslogic, lsilogic", spec->name, value);
    case OPTION_SETTING:
        return set_setting(cli, at, value);
    case OPTION_OUTPUT:
        return set_output(cli, at, value);
    case OPTION_PROGRESS:
        return set_progress(cli, at, value);
    case OPTION_END:
    case OPTION_HELP:
        break;
    }
    help_command(cli->command);
    return STATUS_DONE;
}

/** What getopt_long could not make sense of. */
static int report_unknown(const struct cli *cli, int found, char **argv)
{
    const char *what = found == ':' ? "needs a value" : "is not an option of this command, or takes no value";
    if (optopt > 0 && optopt < LONG_ONLY) {
        return usage_error(cli, "-%c %s", optopt, what);
    }
    return usage_error(cli, "%s %s", argv[optind - 1], what);
}

static int check_operands(const struct cli *cli)
{
    if (cli->noperands < cli->command->min_operands) {
        return usage_error(cli, "too few arguments: %s", cli->command->usage);
    }
    if (cli->command->max_operands >= 0 && cli->noperands > cli->command->max_operands) {
        return usage_error(cli, "too many arguments, from \"%s\" on", cli->operands[cli->command->max_operands]);
    }
    return -1;
}

int options_parse(struct cli *cli, void *args, int argc, char **argv)
{
    struct option_set set;
    int found;
    make_set(&set, cli, args);
    opterr = 0;
    optind = 1;
    while ((found = getopt_long(argc, argv, set.letters, set.longs, NULL)) != -1) {
        size_t index = option_index(&set, found);
        if (found == '?' || found == ':' || index >= set.count) {
            return report_unknown(cli, found, argv);
        }
        int status = set_option(cli, set.specs[index], set.bases[index], optarg);
        if (status >= 0) {
            return status;
        }
    }
    cli->noperands = argc - optind;
    cli->operands = argv + optind;
    return check_operands(cli);
}
