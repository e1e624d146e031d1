/* SPDX-License-Identifier: BSD-3-Clause */
/* latency.h - counts of times in classes that are at most 1/32 wide, so memory does not grow with the number of
 * requests. One thread at a time per struct. */
#ifndef VIXDISK_TOOL_LATENCY_H
#define VIXDISK_TOOL_LATENCY_H

#include <stdint.h>

#define LATENCY_STEPS 32 /* classes for each power of two */
#define LATENCY_CLASSES (LATENCY_STEPS * 60)

struct latency {
    uint64_t classes[LATENCY_CLASSES];
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
};

static inline unsigned latency_class(uint64_t ns)
{
    if (ns < LATENCY_STEPS) {
        return (unsigned)ns;
    }
    unsigned shift = 58u - (unsigned)__builtin_clzll(ns); /* brings ns into LATENCY_STEPS .. 2 * LATENCY_STEPS - 1 */
    return (shift + 1) * LATENCY_STEPS + (unsigned)(ns >> shift) - LATENCY_STEPS;
}

/** The longest time of a class. */
static inline uint64_t latency_class_ns(unsigned class)
{
    if (class < LATENCY_STEPS) {
        return class;
    }
    unsigned shift = class / LATENCY_STEPS - 1;
    return ((uint64_t)(class % LATENCY_STEPS + LATENCY_STEPS + 1) << shift) - 1;
}

static inline void latency_add(struct latency *latency, uint64_t ns)
{
    unsigned class = latency_class(ns);
    latency->classes[class < LATENCY_CLASSES ? class : LATENCY_CLASSES - 1]++;
    latency->count++;
    latency->sum_ns += ns;
    latency->max_ns = ns > latency->max_ns ? ns : latency->max_ns;
}

static inline void latency_merge(struct latency *into, const struct latency *from)
{
    for (unsigned i = 0; i < LATENCY_CLASSES; i++) {
        into->classes[i] += from->classes[i];
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

/** The time that a share of the requests did not exceed. */
static inline uint64_t latency_percentile(const struct latency *latency, double percent)
{
    uint64_t wanted = (uint64_t)((double)latency->count * percent / 100 + 0.5);
    uint64_t seen = 0;
    for (unsigned i = 0; i < LATENCY_CLASSES; i++) {
        seen += latency->classes[i];
        if (seen >= wanted && seen > 0) {
            uint64_t ns = latency_class_ns(i);
            return ns < latency->max_ns ? ns : latency->max_ns;
        }
    }
    return latency->max_ns;
}

#endif
