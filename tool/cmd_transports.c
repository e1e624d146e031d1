/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_transports.c - lists the ways to reach a disk. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "json.h"

static int run(struct cli *cli, const void *args)
{
    (void)args;
    int status = cli_start(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    struct json_object *array = json_object_new_array();
    for (const char *at = VixDiskLib_ListTransportModes(); *at != '\0';) {
        int len = (int)strcspn(at, ":");
        if (cli->common.json) {
            json_object_array_add(array, json_object_new_string_len(at, len));
        } else {
            printf("%.*s\n", len, at);
        }
        at += len;
        at += *at == ':';
    }
    if (cli->common.json) {
        json_print(array);
    } else {
        json_object_put(array);
    }
    return STATUS_DONE;
}

const struct command command_transports = {
    .name = "transports",
    .usage = "",
    .summary = "list the ways to reach a disk, in the order in which they are tried",
    .groups = GROUP_DISKS | GROUP_JSON,
    .run = run,
};
