/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables are arrays that never move, so that looking up a handle takes no lock; pages that are not used take no
 * memory. One lock per table guards the list of free slots and the waiting of closers.
 *
 * state of a slot:  bits 63..32 generation | OPEN | OWNED | CLOSING | bits 27..0 number of pins
 * A slot is free (no flag), OPEN, OWNED (one caller has it for itself) or CLOSING. Every change is one atomic operation
 * on the whole word; a pin is counted first and looked at afterwards, so it may pass over a slot in any state. */
#include "api/handle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/cleanup.h"

#define PIN_ONE UINT64_C(1)
#define PIN_MASK ((UINT64_C(1) << 28) - 1)
#define STATE_CLOSING (UINT64_C(1) << 28)
#define STATE_OWNED (UINT64_C(1) << 29)
#define STATE_OPEN (UINT64_C(1) << 30)
#define STATE_TAKEN (STATE_CLOSING | STATE_OWNED | STATE_OPEN) /* any: it is not free */
#define GENERATION_ONE (UINT64_C(1) << 32)

struct table {
    struct slot *slots;
    uint32_t limit;
    uint32_t used;      /* slots that were ever given out */
    uint32_t free_head; /* index + 1, 0: none */
    uint16_t tag;       /* uppermost bits of its handles: outside of any program's address space */
    const char *what;
    pthread_mutex_t lock;
    pthread_cond_t idle; /* a slot that is CLOSING or OWNED lost a pin, or that flag */
};

_Static_assert(sizeof(void *) == 8, "a handle has 16 bits of tag, 32 of generation, 16 of index");

static struct slot disk_slots[HANDLE_MAX];
static struct slot connection_slots[HANDLE_MAX];
static struct slot library_slots[1];

static struct table tables[HANDLE_KINDS] = {
    [HANDLE_DISK] = {.slots = disk_slots,
                     .limit = HANDLE_MAX,
                     .tag = 0xD15C,
                     .what = "disks",
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .idle = PTHREAD_COND_INITIALIZER},
    [HANDLE_CONNECTION] = {.slots = connection_slots,
                           .limit = HANDLE_MAX,
                           .tag = 0xC0DD,
                           .what = "connections",
                           .lock = PTHREAD_MUTEX_INITIALIZER,
                           .idle = PTHREAD_COND_INITIALIZER},
    [HANDLE_LIBRARY] = {.slots = library_slots,
                        .limit = 1,
                        .tag = 0x11BB,
                        .what = "libraries",
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .idle = PTHREAD_COND_INITIALIZER},
};

static uint32_t generation_of(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

static void *handle_value(const struct table *t, const struct slot *slot, uint32_t generation)
{
    uint64_t index = (uint64_t)(slot - t->slots);
    return (void *)(uintptr_t)((uint64_t)t->tag << 48 | (uint64_t)generation << 16 | index);
}

/** The slot that a handle names, whether or not the handle is stale; NULL for what was never a handle of this kind. */
static struct slot *slot_of(const struct table *t, const void *handle, uint32_t *ret_generation)
{
    uint64_t value = (uint64_t)(uintptr_t)handle;
    uint64_t index = value & 0xFFFF;

    if (value >> 48 != t->tag || index >= t->limit) {
        return NULL;
    }
    *ret_generation = (uint32_t)(value >> 16);
    return &t->slots[index];
}

static struct table *table_of_slot(const struct slot *slot)
{
    for (unsigned kind = 0; kind < HANDLE_KINDS; kind++) {
        if (slot >= tables[kind].slots && slot < tables[kind].slots + tables[kind].limit) {
            return &tables[kind];
        }
    }
    return NULL;
}

VixError handle_reserve(enum handle_kind kind, struct slot **ret_slot, struct err *err)
{
    struct table *t = &tables[kind];
    SCOPED_LOCK(&t->lock);

    if (t->free_head != 0) {
        struct slot *slot = &t->slots[t->free_head - 1];
        t->free_head = slot->next_free;
        *ret_slot = slot;
        return VIX_OK;
    }
    if (t->used == t->limit) {
        return err_set(err, VIX_E_TOO_MANY_HANDLES, "%u %s are open, no more are possible", t->limit, t->what);
    }
    *ret_slot = &t->slots[t->used++];
    return VIX_OK;
}

void *handle_publish(enum handle_kind kind, struct slot *slot, void *object, const void *owner)
{
    slot->object = object;
    slot->owner = owner;
    uint64_t old = atomic_fetch_add_explicit(&slot->state, STATE_OPEN, memory_order_release);
    return handle_value(&tables[kind], slot, generation_of(old));
}

void handle_give_back(enum handle_kind kind, struct slot *slot)
{
    struct table *t = &tables[kind];
    uint64_t flags = atomic_load(&slot->state) & STATE_CLOSING;

    /* pins of late comers with a stale handle may be counted in the word: they must stay */
    slot->object = NULL;
    slot->owner = NULL;
    (void)atomic_fetch_add(&slot->state, GENERATION_ONE - flags);
    SCOPED_LOCK(&t->lock);
    slot->next_free = t->free_head;
    t->free_head = (uint32_t)(slot - t->slots) + 1;
    (void)pthread_cond_broadcast(&t->idle);
}

VixError handle_pin(enum handle_kind kind, const void *handle, struct slot **ret_slot)
{
    uint32_t generation = 0;
    struct slot *slot = slot_of(&tables[kind], handle, &generation);

    if (slot == NULL) {
        return VIX_E_INVALID_HANDLE;
    }
    uint64_t old = atomic_fetch_add_explicit(&slot->state, PIN_ONE, memory_order_acquire);
    if (__builtin_expect((old & STATE_OPEN) != 0 && generation_of(old) == generation, 1)) {
        *ret_slot = slot;
        return VIX_OK;
    }
    handle_unpin(slot);
    return (old & STATE_OWNED) != 0 && generation_of(old) == generation ? VIX_E_OBJECT_IS_BUSY : VIX_E_INVALID_HANDLE;
}

static __attribute__((noinline, cold)) void wake_waiters(const struct slot *slot)
{
    struct table *t = table_of_slot(slot);
    SCOPED_LOCK(&t->lock);
    (void)pthread_cond_broadcast(&t->idle);
}

void handle_unpin(struct slot *slot)
{
    uint64_t old = atomic_fetch_sub_explicit(&slot->state, PIN_ONE, memory_order_release);
    if (__builtin_expect((old & (STATE_CLOSING | STATE_OWNED)) != 0, 0)) {
        wake_waiters(slot);
    }
}

struct slot *handle_peek(enum handle_kind kind, const void *handle)
{
    uint32_t generation = 0;
    struct slot *slot = slot_of(&tables[kind], handle, &generation);
    uint64_t state = slot != NULL ? atomic_load(&slot->state) : 0;

    return (state & STATE_TAKEN) != 0 && generation_of(state) == generation ? slot : NULL;
}

/** Turns OPEN into another flag; the handle's generation must still be the slot's. */
static VixError take(struct slot *slot, uint32_t generation, uint64_t flag)
{
    uint64_t old = atomic_load(&slot->state);

    do {
        if (generation_of(old) != generation) {
            return VIX_E_INVALID_HANDLE;
        }
        if ((old & STATE_OPEN) == 0) {
            return (old & STATE_OWNED) != 0 ? VIX_E_OBJECT_IS_BUSY : VIX_E_INVALID_HANDLE;
        }
    } while (!atomic_compare_exchange_weak(&slot->state, &old, (old & ~STATE_OPEN) | flag));
    return VIX_OK;
}

static void wait_for_pins(struct table *t, struct slot *slot, uint64_t own_pins)
{
    SCOPED_LOCK(&t->lock);
    while ((atomic_load_explicit(&slot->state, memory_order_acquire) & PIN_MASK) > own_pins) {
        (void)pthread_cond_wait(&t->idle, &t->lock);
    }
}

/** Takes for closing, when the call that has it for itself has ended. */
static VixError wait_and_take(struct table *t, struct slot *slot, uint32_t generation)
{
    SCOPED_LOCK(&t->lock);
    VixError code = take(slot, generation, STATE_CLOSING);

    while (code == VIX_E_OBJECT_IS_BUSY) {
        (void)pthread_cond_wait(&t->idle, &t->lock);
        code = take(slot, generation, STATE_CLOSING);
    }
    return code;
}

VixError handle_close_begin(enum handle_kind kind, const void *handle, bool may_wait, struct slot **ret_slot)
{
    struct table *t = &tables[kind];
    uint32_t generation = 0;
    struct slot *slot = slot_of(t, handle, &generation);

    VixError code = slot != NULL ? take(slot, generation, STATE_CLOSING) : VIX_E_INVALID_HANDLE;
    if (code == VIX_E_OBJECT_IS_BUSY && may_wait) {
        code = wait_and_take(t, slot, generation);
    }
    if (code != VIX_OK) {
        return code;
    }
    wait_for_pins(t, slot, 0);
    *ret_slot = slot;
    return VIX_OK;
}

static bool is_closing(const struct slot *slot, uint32_t generation)
{
    uint64_t state = atomic_load(&slot->state);
    return (state & STATE_CLOSING) != 0 && generation_of(state) == generation;
}

/** Waits until whoever is closing a handle has done so, or has given it up: then true. */
static bool wait_for_closer(struct table *t, const void *handle)
{
    uint32_t generation = 0;
    const struct slot *slot = slot_of(t, handle, &generation);
    SCOPED_LOCK(&t->lock);

    while (is_closing(slot, generation)) {
        (void)pthread_cond_wait(&t->idle, &t->lock);
    }
    return generation_of(atomic_load(&slot->state)) == generation;
}

VixError handle_close_next(enum handle_kind kind, uint32_t *cursor, const void *owner, bool may_wait,
                           struct slot **ret_slot)
{
    const void *handle;

    *ret_slot = NULL;
    while ((handle = handle_next(kind, cursor, owner)) != NULL) {
        do {
            VixError code = handle_close_begin(kind, handle, may_wait, ret_slot);
            if (code != VIX_E_INVALID_HANDLE) {
                return code;
            }
            if (!may_wait && handle_peek(kind, handle) != NULL) {
                return VIX_E_OBJECT_IS_BUSY;
            }
        } while (wait_for_closer(&tables[kind], handle));
    }
    return VIX_OK;
}

void handle_reopen(struct slot *slot)
{
    (void)atomic_fetch_add(&slot->state, STATE_OPEN - STATE_CLOSING);
    wake_waiters(slot);
}

VixError handle_own(enum handle_kind kind, struct slot *slot)
{
    VixError code = take(slot, generation_of(atomic_load(&slot->state)), STATE_OWNED);
    if (code != VIX_OK) {
        return VIX_E_OBJECT_IS_BUSY;
    }
    wait_for_pins(&tables[kind], slot, 1);
    return VIX_OK;
}

void handle_share(struct slot *slot)
{
    (void)atomic_fetch_add(&slot->state, STATE_OPEN - STATE_OWNED);
    wake_waiters(slot);
}

void *handle_next(enum handle_kind kind, uint32_t *cursor, const void *owner)
{
    struct table *t = &tables[kind];
    SCOPED_LOCK(&t->lock);

    while (*cursor < t->used) {
        struct slot *slot = &t->slots[(*cursor)++];
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if ((state & STATE_TAKEN) != 0 && (owner == NULL || slot->owner == owner)) {
            return handle_value(t, slot, generation_of(state));
        }
    }
    return NULL;
}
