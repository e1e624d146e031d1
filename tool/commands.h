/* SPDX-License-Identifier: BSD-3-Clause */
/* commands.h - the commands, one file each: cmd_NAME.c. */
#ifndef VIXDISK_TOOL_COMMANDS_H
#define VIXDISK_TOOL_COMMANDS_H

#include "cli.h"

extern const struct command command_bench;
extern const struct command command_changes;
extern const struct command command_check;
extern const struct command command_commit;
extern const struct command command_compare;
extern const struct command command_convert;
extern const struct command command_create;
extern const struct command command_defrag;
extern const struct command command_doctor;
extern const struct command command_errors;
extern const struct command command_grow;
extern const struct command command_hash;
extern const struct command command_help;
extern const struct command command_info;
extern const struct command command_ls;
extern const struct command command_map;
extern const struct command command_measure;
extern const struct command command_meta;
extern const struct command command_read;
extern const struct command command_mount;
extern const struct command command_rename;
extern const struct command command_rm;
extern const struct command command_shrink;
extern const struct command command_snapshot;
extern const struct command command_sync;
extern const struct command command_thumbprint;
extern const struct command command_transports;
extern const struct command command_write;

/** What snapshot does, for create -b. */
int make_child(struct cli *cli, const char *parent, const char *child, struct type_arg type);

#endif
