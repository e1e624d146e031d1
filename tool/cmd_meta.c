/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_meta.c - lists, reads and writes the disk database. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"

/** All keys, one NUL after each and one more at the end; NULL with a code on failure. To be freed. */
static char *list_keys(VixDiskLibHandle disk, VixError *ret_code)
{
    size_t len = 0;
    VixError code = VixDiskLib_GetMetadataKeys(disk, NULL, 0, &len);
    if (code != VIX_OK && code != VIX_E_BUFFER_TOOSMALL) {
        *ret_code = code;
        return NULL;
    }
    char *keys = calloc(1, len + 1);
    *ret_code = keys == NULL ? VIX_E_OUT_OF_MEMORY
                : len == 0   ? VIX_OK
                             : VixDiskLib_GetMetadataKeys(disk, keys, len, NULL);
    if (*ret_code != VIX_OK) {
        free(keys);
        return NULL;
    }
    return keys;
}

/** The value of a key; NULL with a code on failure. To be freed. */
static char *read_value(VixDiskLibHandle disk, const char *key, VixError *ret_code)
{
    size_t len = 0;
    *ret_code = VixDiskLib_ReadMetadata(disk, key, NULL, 0, &len);
    if (*ret_code != VIX_E_BUFFER_TOOSMALL) {
        *ret_code = *ret_code == VIX_OK ? VIX_E_FAIL : *ret_code;
        return NULL;
    }
    char *value = malloc(len);
    *ret_code = value == NULL ? VIX_E_OUT_OF_MEMORY : VixDiskLib_ReadMetadata(disk, key, value, len, NULL);
    if (*ret_code != VIX_OK) {
        free(value);
        return NULL;
    }
    return value;
}

static int list_all(struct cli *cli, const char *path, VixDiskLibHandle disk)
{
    VixError code = VIX_OK;
    char *keys = list_keys(disk, &code);
    if (keys == NULL) {
        return fail(cli, path, code);
    }
    int status = STATUS_DONE;
    struct json_object *object = json_object_new_object();
    for (const char *key = keys; *key != '\0' && status == STATUS_DONE; key += strlen(key) + 1) {
        char *value = read_value(disk, key, &code);
        if (value == NULL) {
            status = fail(cli, path, code);
        } else if (cli->common.json) {
            json_add_text(object, key, value);
        } else {
            printf("%s = %s\n", key, value);
        }
        free(value);
    }
    if (cli->common.json && status == STATUS_DONE) {
        json_print(object);
    } else {
        json_object_put(object);
    }
    free(keys);
    return status;
}

static int print_value(struct cli *cli, const char *path, VixDiskLibHandle disk, const char *key)
{
    VixError code = VIX_OK;
    char *value = read_value(disk, key, &code);
    if (value == NULL) {
        return fail(cli, path, code);
    }
    if (cli->common.json) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, key, value);
        json_print(object);
    } else {
        printf("%s\n", value);
    }
    free(value);
    return STATUS_DONE;
}

static int run(struct cli *cli, const void *args)
{
    (void)args;
    const char *path = cli->operands[0];
    bool writing = cli->noperands == 3;
    VixDiskLibHandle disk = NULL;
    int status = open_disk(cli, path, FORMAT_VMDK, writing ? 0 : VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    if (cli->noperands == 1) {
        status = list_all(cli, path, disk);
    } else if (!writing) {
        status = print_value(cli, path, disk, cli->operands[1]);
    } else {
        VixError code = VixDiskLib_WriteMetadata(disk, cli->operands[1], cli->operands[2]);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
    }
    return close_disk(cli, path, disk, status);
}

const struct command command_meta = {
    .name = "meta",
    .usage = "PATH [KEY [VALUE]]",
    .summary = "list, read or write the disk database",
    .details = "Keys are given without \"ddb.\".",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .min_operands = 1,
    .max_operands = 3,
    .run = run,
};
