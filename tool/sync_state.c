/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_state.c - the state of a copy as JSON. */
#include "sync_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "whole_file.h"

#define STATE_VERSION 1
#define STATE_BYTES_MAX ((size_t)1 << 20)

void sync_state_clear(struct sync_state *state)
{
    free(state->source);
    free(state->vm);
    free(state->disk_uuid);
    free(state->snapshot_time);
    free(state->copying);
    for (size_t i = 0; i < state->part_count; i++) {
        free(state->parts[i].change_id);
    }
    *state = (struct sync_state){0};
}

/* ---- parts ---- */

bool sync_state_reset(struct sync_state *state, const char *id)
{
    char *copy = id != NULL ? strdup(id) : NULL;
    if (id != NULL && copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < state->part_count; i++) {
        free(state->parts[i].change_id);
    }
    state->parts[0] = (struct sync_part){.end = state->capacity, .change_id = copy};
    state->part_count = 1;
    return true;
}

static void drop_part(struct sync_state *state, size_t index)
{
    free(state->parts[index].change_id);
    memmove(&state->parts[index], &state->parts[index + 1], (state->part_count - index - 1) * sizeof state->parts[0]);
    state->part_count--;
}

bool sync_state_advance(struct sync_state *state, uint64_t end, const char *id)
{
    char *copy = strdup(id);
    if (copy == NULL) {
        return false;
    }
    while (state->part_count > 0 && state->parts[0].end <= end) {
        drop_part(state, 0);
    }
    /* Passes begin at the start of the disk, so what lies behind is older: its ID is right for what lies before. */
    if (state->part_count == SYNC_PARTS_MAX) {
        drop_part(state, state->part_count - 2);
    }
    memmove(&state->parts[1], &state->parts[0], state->part_count * sizeof state->parts[0]);
    state->parts[0] = (struct sync_part){.end = end, .change_id = copy};
    state->part_count++;
    return true;
}

/* ---- reading ---- */

static const char *get_text(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(object, key, &value) && json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static bool get_copy(struct json_object *object, const char *key, char **ret_text)
{
    const char *text = get_text(object, key);
    *ret_text = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_text != NULL;
}

static bool get_number(struct json_object *object, const char *key, uint64_t *ret_number)
{
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_int) ||
        json_object_get_int64(value) < 0) {
        return false;
    }
    *ret_number = json_object_get_uint64(value);
    return true;
}

static bool read_parts(struct json_object *object, struct sync_state *state)
{
    struct json_object *list = NULL;
    uint64_t pos = 0;
    if (!json_object_object_get_ex(object, "parts", &list) || !json_object_is_type(list, json_type_array)) {
        return false;
    }
    size_t count = json_object_array_length(list);
    if (count == 0 || count > SYNC_PARTS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        struct sync_part *part = &state->parts[state->part_count];
        if (!get_number(item, "end", &part->end) || part->end <= pos || part->end % SECTOR_BYTES != 0 ||
            !get_copy(item, "change-id", &part->change_id)) {
            return false;
        }
        pos = part->end;
        state->part_count++;
    }
    return pos == state->capacity;
}

static bool read_object(struct json_object *object, struct sync_state *state)
{
    struct json_object *complete = NULL;
    uint64_t version = 0;
    uint64_t key = 0;
    if (!json_object_is_type(object, json_type_object) || !get_number(object, "version", &version) ||
        version != STATE_VERSION || !get_number(object, "capacity", &state->capacity) || state->capacity == 0 ||
        !json_object_object_get_ex(object, "complete", &complete) || !get_copy(object, "path", &state->source) ||
        state->source == NULL || !get_copy(object, "vm", &state->vm) || !get_copy(object, "copying", &state->copying) ||
        !get_copy(object, "disk-uuid", &state->disk_uuid) ||
        !get_copy(object, "snapshot-time", &state->snapshot_time)) {
        return false;
    }
    state->complete = json_object_get_boolean(complete);
    (void)get_number(object, "device-key", &key);
    (void)get_number(object, "bytes-copied", &state->bytes_copied);
    (void)get_number(object, "target-device", &state->target_device);
    (void)get_number(object, "target-inode", &state->target_inode);
    (void)get_number(object, "target-mtime", &state->target_mtime);
    (void)get_number(object, "target-files", &state->target_files);
    state->device_key = (int32_t)key;
    return read_parts(object, state);
}

int sync_state_read(struct cli *cli, const char *path, struct sync_state *ret_state, bool *ret_found)
{
    struct sync_state state = {0};
    *ret_found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? STATUS_DONE : fail_errno(cli, path, errno, "cannot be opened");
    }
    char *text = calloc(1, STATE_BYTES_MAX + 1);
    ssize_t len = text != NULL ? pread(fd, text, STATE_BYTES_MAX, 0) : -1;
    int errnum = errno;
    close(fd);
    if (len < 0) {
        free(text);
        return fail_errno(cli, path, errnum, "cannot be read");
    }
    struct json_object *object = json_tokener_parse(text);
    bool good = object != NULL && read_object(object, &state);
    json_object_put(object);
    free(text);
    if (!good) {
        sync_state_clear(&state);
        return fail_with(cli, path, VIX_E_INCORRECT_FILE_TYPE, "not a state that sync has written; --full begins anew");
    }
    *ret_state = state;
    *ret_found = true;
    return STATUS_DONE;
}

/* ---- writing ---- */

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, text == NULL ? NULL : json_object_new_string(text));
}

static struct json_object *state_json(const struct sync_state *state)
{
    struct json_object *object = json_object_new_object();
    struct json_object *parts = json_object_new_array();
    json_add_number(object, "version", STATE_VERSION);
    json_add_bool(object, "complete", state->complete);
    add_text(object, "path", state->source);
    add_text(object, "vm", state->vm);
    json_add_number(object, "device-key", (uint64_t)(uint32_t)state->device_key);
    add_text(object, "disk-uuid", state->disk_uuid);
    json_add_number(object, "capacity", state->capacity);
    add_text(object, "change-id", state->complete ? state->parts[0].change_id : NULL);
    add_text(object, "copying", state->complete ? NULL : state->copying);
    add_text(object, "snapshot-time", state->snapshot_time);
    json_add_number(object, "bytes-copied", state->bytes_copied);
    for (size_t i = 0; i < state->part_count; i++) {
        struct json_object *part = json_object_new_object();
        json_add_number(part, "end", state->parts[i].end);
        add_text(part, "change-id", state->parts[i].change_id);
        json_object_array_add(parts, part);
    }
    json_object_object_add(object, "parts", parts);
    json_add_number(object, "target-device", state->target_device);
    json_add_number(object, "target-inode", state->target_inode);
    json_add_number(object, "target-mtime", state->target_mtime);
    json_add_number(object, "target-files", state->target_files);
    return object;
}

int sync_state_write(struct cli *cli, const char *path, const struct sync_state *state)
{
    struct whole_file file = {0};
    int status = whole_file_open(cli, path, &file);
    if (status != STATUS_DONE) {
        return status;
    }
    struct json_object *object = state_json(state);
    fprintf(file.to, "%s\n",
            json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
    return whole_file_finish(cli, &file);
}
