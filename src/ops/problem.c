/* SPDX-License-Identifier: BSD-3-Clause */
/* problem.c - the table of problems, and lists of those that were found. */
#include "ops/problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum problem_class { NOTE, NOTE_REPAIR, REPAIR, LOST };

struct problem_row {
    enum problem_code code;
    enum problem_class class;
    const char *name;
    const char *message;
};

static const struct problem_row rows[] = {
#define PROBLEM(number, id, name, class, message) {PROBLEM_##id, class, name, message},
#include "ops/problems.def"
#undef PROBLEM
};

static const struct problem_row *row_of(enum problem_code code)
{
    size_t i = 0;

    while (i + 1 < sizeof rows / sizeof rows[0] && rows[i].code != code) {
        i++;
    }
    return &rows[i];
}

enum problem_weight problem_weight(enum problem_code code)
{
    switch (row_of(code)->class) {
    case NOTE:
    case NOTE_REPAIR:
        return WEIGHT_NOTE;
    case REPAIR:
        return WEIGHT_REPAIRABLE;
    default:
        return WEIGHT_LOST;
    }
}

bool problem_is_repairable(enum problem_code code)
{
    enum problem_class class = row_of(code)->class;
    return class == NOTE_REPAIR || class == REPAIR;
}

const char *problem_name(enum problem_code code)
{
    return row_of(code)->name;
}

const char *problem_message(enum problem_code code)
{
    return row_of(code)->message;
}

/** Whether it goes on where the last one of the list ends. */
static bool follows_last(const struct problem_list *list, enum problem_code code, uint64_t start, uint64_t len)
{
    const struct problem *last = list->count > 0 ? &list->problems[list->count - 1] : NULL;

    return last != NULL && len > 0 && last->len > 0 && last->code == code && last->start + last->len == start;
}

static struct problem *new_problem(struct problem_list *list)
{
    if (list->count == list->room) {
        size_t room = list->room * 2 + 16;
        struct problem *problems = alloc_array(room, sizeof *problems, &list->failure);
        if (problems == NULL) {
            return NULL;
        }
        if (list->count > 0) {
            memcpy(problems, list->problems, list->count * sizeof *problems);
        }
        free(list->problems);
        list->problems = problems;
        list->room = room;
    }
    return &list->problems[list->count];
}

void problem_add(struct problem_list *list, enum problem_code code, uint64_t file_off, uint64_t start, uint64_t len,
                 const char *fmt, va_list args)
{
    char text[ERR_TEXT_MAX];

    list->found[problem_weight(code)]++;
    if (follows_last(list, code, start, len)) {
        list->problems[list->count - 1].len += len;
        list->problems[list->count - 1].count++;
        return;
    }
    if (list->count >= PROBLEMS_KEPT_MAX) {
        list->untold++;
        return;
    }
    (void)vsnprintf(text, sizeof text, fmt, args);
    struct problem *p = new_problem(list);
    char *copy = p != NULL ? alloc_text(text, &list->failure) : NULL;
    if (copy != NULL) {
        *p = (struct problem){.code = code, .text = copy, .file_off = file_off, .start = start, .len = len, .count = 1};
        list->count++;
    }
}

void problem_list_clear(struct problem_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->problems[i].text);
    }
    free(list->problems);
    *list = (struct problem_list){0};
}
