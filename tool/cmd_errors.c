/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_errors.c - lists the error codes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "json.h"
#include "text.h"

struct entry {
    VixError code;
    const char *name;
    const char *text;
};

static struct json_object *entry_json(const struct entry *entry)
{
    struct json_object *object = json_object_new_object();
    json_add_number(object, "code", entry->code);
    json_add_text(object, "name", entry->name);
    json_add_text(object, "message", entry->text);
    json_add_bool(object, "retryable", VixDiskLibExt_ErrorIsRetryable(entry->code));
    return object;
}

static void print_entry(const struct entry *entry)
{
    printf("%5llu  %-45s %s%s\n", (unsigned long long)entry->code, entry->name, entry->text,
           VixDiskLibExt_ErrorIsRetryable(entry->code) ? " (a retry may help)" : "");
}

/** Whether an entry is the one that a word names, by number or by name with or without its prefix. */
static bool is_named(const struct entry *entry, const char *word)
{
    uint32_t number = 0;
    if (parse_number(word, 0, UINT32_MAX, &number)) {
        return entry->code == number;
    }
    return strcasecmp(entry->name, word) == 0 ||
           (strncmp(entry->name, "VIX_E_", 6) == 0 && strcasecmp(entry->name + 6, word) == 0);
}

static int run(struct cli *cli, const void *args)
{
    (void)args;
    const char *word = cli->noperands == 1 ? cli->operands[0] : NULL;
    struct json_object *array = json_object_new_array();
    struct entry entry;
    bool found = false;
    for (uint32 i = 0; VixDiskLibExt_ErrorTable(i, &entry.code, &entry.name, &entry.text); i++) {
        if (word != NULL && !is_named(&entry, word)) {
            continue;
        }
        found = true;
        if (cli->common.json) {
            json_object_array_add(array, entry_json(&entry));
        } else {
            print_entry(&entry);
        }
    }
    if (cli->common.json && found) {
        json_print(array);
    } else {
        json_object_put(array);
    }
    return found ? STATUS_DONE : usage_error(cli, "there is no error code \"%s\"", word);
}

const struct command command_errors = {
    .name = "errors",
    .usage = "[CODE | NAME]",
    .summary = "list the error codes, or tell about one",
    .groups = GROUP_JSON,
    .max_operands = 1,
    .run = run,
};
