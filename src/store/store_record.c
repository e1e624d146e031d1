/* SPDX-License-Identifier: BSD-3-Clause */
/* What a crash leaves. Bytes belong to a file, whatever it is called: a flush of the file makes all changes before it
 * last. Names belong to folders: only sync_folder makes them last. Of what does not last yet a host may have stored any
 * part; names are kept by journals, so of them a beginning. */
#include "store/store_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "store/store_mem.h"

#define SECTOR ((uint64_t)512)

/* ---- the list ---- */

static void event_done(struct record_event *event)
{
    free(event->data);
    free(event->path);
    free(event->new_path);
}

void record_done(struct record *r)
{
    for (size_t i = 0; i < r->count; i++) {
        event_done(&r->events[i]);
    }
    free(r->events);
    *r = (struct record){0};
}

static VixError copy_event(const struct record_event *event, struct record_event *copy, struct err *err)
{
    *copy = *event;
    copy->data = event->data != NULL ? alloc_zero(event->len, err) : NULL;
    copy->path = event->path != NULL ? alloc_text(event->path, err) : NULL;
    copy->new_path = event->new_path != NULL ? alloc_text(event->new_path, err) : NULL;
    if ((event->data != NULL && copy->data == NULL) || (event->path != NULL && copy->path == NULL) ||
        (event->new_path != NULL && copy->new_path == NULL)) {
        event_done(copy);
        return VIX_E_OUT_OF_MEMORY;
    }
    if (event->data != NULL) {
        memcpy(copy->data, event->data, event->len);
    }
    return VIX_OK;
}

VixError record_add(struct record *r, const struct record_event *event, struct err *err)
{
    if (r->count == r->room) {
        size_t room = r->room > 0 ? r->room * 2 : 64;
        struct record_event *events = alloc_array(room, sizeof *events, err);
        if (events == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        if (r->count > 0) {
            memcpy(events, r->events, r->count * sizeof *events);
        }
        free(r->events);
        r->events = events;
        r->room = room;
    }
    VixError code = copy_event(event, &r->events[r->count], err);
    r->count += code == VIX_OK;
    return code;
}

void record_describe(const struct record_event *event, char *buf, size_t len)
{
    static const char *const words[] = {
        [RECORD_WRITE] = "write",   [RECORD_TRUNCATE] = "truncate",
        [RECORD_GROW] = "grow",     [RECORD_PUNCH] = "punch",
        [RECORD_FLUSH] = "flush",   [RECORD_CREATE] = "create",
        [RECORD_RENAME] = "rename", [RECORD_LINK] = "link",
        [RECORD_UNLINK] = "unlink", [RECORD_SYNC_FOLDER] = "sync folder of",
    };
    const char *word = words[event->kind];

    if (event->new_path != NULL) {
        (void)snprintf(buf, len, "%s %s to %s", word, event->path, event->new_path);
    } else if (event->path != NULL) {
        (void)snprintf(buf, len, "%s %s", word, event->path);
    } else {
        (void)snprintf(buf, len, "%s file %" PRIu64 ": %" PRIu64 " bytes at offset %" PRIu64, word, event->file,
                       event->len, event->off);
    }
}

/* ---- what lasts ---- */

struct replay {
    const struct record *r;
    size_t count;
    enum store_crash how;
    uint64_t random;
    struct store_fs *mem;
    bool *lasts; /* of each event: a later one made it last */
    /* files that events name, by number */
    struct store **stores;
    size_t nstores;
};

static uint64_t next_random(struct replay *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random * 2685821657736338717u >> 32;
}

static bool is_name_event(enum record_kind kind)
{
    return kind == RECORD_CREATE || kind == RECORD_RENAME || kind == RECORD_LINK || kind == RECORD_UNLINK;
}

static bool is_byte_event(enum record_kind kind)
{
    return kind == RECORD_WRITE || kind == RECORD_TRUNCATE || kind == RECORD_GROW || kind == RECORD_PUNCH;
}

static bool same_folder(const char *a, const char *b)
{
    size_t len = (size_t)(store_path_base(a) - a);
    return len == (size_t)(store_path_base(b) - b) && memcmp(a, b, len) == 0;
}

/* Whether one of the events at these places is what makes an event last. */
static bool is_made_last(const struct replay *p, const struct record_event *event, const size_t *places, size_t nplaces)
{
    const char *path = event->new_path != NULL ? event->new_path : event->path;

    for (size_t i = 0; i < nplaces; i++) {
        const struct record_event *later = &p->r->events[places[i]];
        if (is_byte_event(event->kind) ? later->kind == RECORD_FLUSH && later->file == event->file
                                       : later->kind == RECORD_SYNC_FOLDER && same_folder(later->path, path)) {
            return true;
        }
    }
    return false;
}

/* Finds which events last, from the end backwards: @places collects one flush per file and one sync per folder. */
static void find_lasting(struct replay *p, size_t *places)
{
    size_t nplaces = 0;

    for (size_t i = p->count; i-- > 0;) {
        const struct record_event *event = &p->r->events[i];
        bool flush = event->kind == RECORD_FLUSH;
        if (!flush && event->kind != RECORD_SYNC_FOLDER) {
            p->lasts[i] = is_made_last(p, event, places, nplaces);
            continue;
        }
        const struct record_event probe = {
            .kind = flush ? RECORD_WRITE : RECORD_UNLINK, .file = event->file, .path = event->path};
        if (!is_made_last(p, &probe, places, nplaces)) {
            places[nplaces++] = i;
        }
    }
}

/* ---- bytes ---- */

static VixError find_store(struct replay *p, uint64_t file, struct store **ret_store, struct err *err)
{
    for (size_t i = 0; i < p->nstores; i++) {
        if (p->stores[i]->ino == file) {
            *ret_store = p->stores[i];
            return VIX_OK;
        }
    }
    VixError code = store_mem_open_number(p->mem, file, &p->stores[p->nstores], err);
    if (code == VIX_OK) {
        *ret_store = p->stores[p->nstores++];
    }
    return code;
}

/* Some sectors of a write. */
static VixError tear_write(struct replay *p, struct store *s, const struct record_event *event, struct err *err)
{
    VixError code = VIX_OK;

    for (uint64_t done = 0; done < event->len && code == VIX_OK;) {
        uint64_t n = min_u64(event->len - done, SECTOR - (event->off + done) % SECTOR);
        if (next_random(p) % 2 == 0) {
            code = store_write(s, event->data + done, n, event->off + done, err);
        }
        done += n;
    }
    return code;
}

static VixError grow(struct store *s, uint64_t size, struct err *err)
{
    uint64_t now;
    VixError code = s->ops->size(s, &now, err);
    return code == VIX_OK && now < size ? s->ops->truncate(s, size, err) : code;
}

static VixError replay_bytes(struct replay *p, size_t index, struct err *err)
{
    const struct record_event *event = &p->r->events[index];
    struct store *s;
    VixError code = find_store(p, event->file, &s, err);
    bool whole = p->how == STORE_CRASH_PROCESS || p->lasts[index];
    uint64_t chance = whole ? 0 : next_random(p) % 3; /* 0 whole, 1 not, 2 torn */

    if (code != VIX_OK || (!whole && (p->how == STORE_CRASH_LOSE || chance == 1))) {
        return code;
    }
    switch (event->kind) {
    case RECORD_WRITE:
        return chance == 2 ? tear_write(p, s, event, err) : store_write(s, event->data, event->len, event->off, err);
    case RECORD_TRUNCATE:
        return s->ops->truncate(s, event->off, err);
    case RECORD_GROW:
        return grow(s, event->off + event->len, err);
    default:
        return s->ops->punch(s, event->off, event->len, err);
    }
}

/* ---- names ---- */

static VixError replay_name(struct replay *p, const struct record_event *event, struct err *err)
{
    struct store *s;
    VixError code;

    switch (event->kind) {
    case RECORD_CREATE:
        code = find_store(p, event->file, &s, err);
        return code == VIX_OK ? store_mem_link(p->mem, s, event->path, err) : code;
    case RECORD_RENAME:
        code = p->mem->ops->rename(p->mem, event->path, event->new_path, err);
        break;
    case RECORD_LINK:
        code = p->mem->ops->link(p->mem, event->path, event->new_path, err);
        break;
    default:
        code = p->mem->ops->unlink(p->mem, event->path, err);
    }
    /* the name may come from a change in another folder that did not last */
    return code == VIX_E_FILE_NOT_FOUND || code == VIX_E_FILE_ALREADY_EXISTS ? VIX_OK : code;
}

static VixError replay_names(struct replay *p, struct err *err)
{
    size_t pending = 0;
    size_t kept = 0;
    VixError code = VIX_OK;

    for (size_t i = 0; i < p->count; i++) {
        pending += is_name_event(p->r->events[i].kind) && !p->lasts[i];
    }
    if (p->how == STORE_CRASH_PROCESS) {
        kept = pending;
    } else if (p->how == STORE_CRASH_MIX) {
        kept = next_random(p) % (pending + 1);
    }
    for (size_t i = 0; i < p->count && code == VIX_OK; i++) {
        if (!is_name_event(p->r->events[i].kind)) {
            continue;
        }
        bool stored = p->lasts[i];
        if (!stored && kept > 0) {
            kept--;
            stored = true;
        }
        if (stored) {
            code = replay_name(p, &p->r->events[i], err);
        }
    }
    return code;
}

static VixError replay_all(struct replay *p, struct err *err)
{
    VixError code = VIX_OK;

    for (size_t i = 0; i < p->count && code == VIX_OK; i++) {
        if (is_byte_event(p->r->events[i].kind)) {
            code = replay_bytes(p, i, err);
        }
    }
    if (code == VIX_OK) {
        code = replay_names(p, err);
    }
    for (size_t i = 0; i < p->nstores; i++) {
        store_close(p->stores[i]);
    }
    return code;
}

VixError record_replay(const struct record *r, size_t count, enum store_crash how, unsigned seed, struct store_fs *mem,
                       struct err *err)
{
    struct replay p = {
        .r = r, .count = count, .how = how, .random = seed * 2654435769u + 88172645463325252u, .mem = mem};
    /* an event is one file, one flush, one sync at most */
    CLEANUP_FREE size_t *places = alloc_array(count, sizeof *places, err);
    CLEANUP_FREE bool *lasts = alloc_array(count, sizeof *lasts, err);
    CLEANUP_FREE struct store **stores = alloc_array(count, sizeof *stores, err);

    if (places == NULL || lasts == NULL || stores == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    p.lasts = lasts;
    p.stores = stores;
    find_lasting(&p, places);
    return replay_all(&p, err);
}
