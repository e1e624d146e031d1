/* SPDX-License-Identifier: BSD-3-Clause */
/* problem.h - problems as data: every kind that a check can find has a number, a name, a message and a class; one that
 * was found also has a sentence and a place. Passes only tell what they see; whether it is repaired is decided here.
 * One thread at a time per list. */
#ifndef VIXDISK_OPS_PROBLEM_H
#define VIXDISK_OPS_PROBLEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ops/check.h"

enum problem_code {
#define PROBLEM(number, id, name, class, message) PROBLEM_##id = (number),
#include "ops/problems.def"
#undef PROBLEM
};

#define PROBLEMS_KEPT_MAX 4096u /* limit: problems of one file that are told; the rest is only counted */

/** A problem that was found. */
struct problem {
    enum problem_code code;
    char *text;          /* sentence with figures */
    uint64_t file_off;   /* bytes, CHECK_NOWHERE: none */
    uint64_t start, len; /* bytes of the disk that are affected; len 0: none */
    uint64_t count;      /* how many of them, one behind the other on the disk, are told as one */
};

/** The problems of one file. */
struct problem_list {
    struct problem *problems;
    size_t count, room;
    uint64_t untold;    /* found, but over PROBLEMS_KEPT_MAX */
    uint64_t found[3];  /* by enum problem_weight */
    struct err failure; /* no memory to keep a problem: met at delivery */
};

/** What a problem means for the disk. */
enum problem_weight { WEIGHT_NOTE, WEIGHT_REPAIRABLE, WEIGHT_LOST };

enum problem_weight problem_weight(enum problem_code code);

/** Whether a repair of it loses nothing. */
bool problem_is_repairable(enum problem_code code);

const char *problem_name(enum problem_code code);
const char *problem_message(enum problem_code code);

/** Notes a problem. One that follows the last one on the disk and is of the same kind is told with it. */
void problem_add(struct problem_list *list, enum problem_code code, uint64_t file_off, uint64_t start, uint64_t len,
                 const char *fmt, va_list args);

/** Frees the problems; the list is empty then. */
void problem_list_clear(struct problem_list *list);

#endif
