/* SPDX-License-Identifier: BSD-3-Clause */
/* json.h - short names for what the commands do with json-c. */
#ifndef VIXDISK_TOOL_JSON_H
#define VIXDISK_TOOL_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static inline void json_add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

static inline void json_add_number(struct json_object *object, const char *key, uint64_t number)
{
    json_object_object_add(object, key, json_object_new_uint64(number));
}

static inline void json_add_real(struct json_object *object, const char *key, double number)
{
    char text[64];
    snprintf(text, sizeof text, "%.3f", number);
    json_object_object_add(object, key, json_object_new_double_s(number, text));
}

static inline void json_add_bool(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

/** Prints and frees. */
static inline void json_print(struct json_object *object)
{
    printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}

#endif
