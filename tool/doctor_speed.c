/* SPDX-License-Identifier: BSD-3-Clause */
/* doctor_speed.c - a short read of a disk with some requests at once. A request that has ended makes the next one, on
 * the library's thread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "doctor.h"
#include "progress.h"

#define SPEED_NS UINT64_C(1000000000)
#define PIECE_BYTES ((uint64_t)1 << 20)
#define PIECE_SECTORS (PIECE_BYTES / SECTOR_BYTES)
#define DEPTH_MAX 16

struct slot {
    struct run *run;
    uint64_t sectors;
    uint8 *bytes;
};

struct run {
    VixDiskLibHandle disk;
    uint64_t sectors; /* of the disk */
    uint64_t end_ns;
    pthread_mutex_t lock; /* of what follows */
    uint64_t place;       /* the next piece */
    uint64_t left;        /* pieces that have not been asked for */
    uint64_t done;        /* sectors */
    struct doctor_rate *rate;
    struct slot slots[DEPTH_MAX];
};

static void note(struct run *run, uint64_t sectors, VixError code, const char *detail)
{
    pthread_mutex_lock(&run->lock);
    if (code == VIX_OK) {
        run->done += sectors;
    } else if (run->rate->code == VIX_OK) {
        run->rate->code = code;
        snprintf(run->rate->detail, sizeof run->rate->detail, "%s", detail);
    }
    pthread_mutex_unlock(&run->lock);
}

/** The next piece of a slot; false if the time is over, the disk has been read, or a read has failed. */
static bool next_piece(struct run *run, struct slot *slot, uint64_t *ret_sector)
{
    pthread_mutex_lock(&run->lock);
    bool more = run->left > 0 && run->rate->code == VIX_OK && now_ns() < run->end_ns;
    if (more) {
        run->left--;
        if (run->place * PIECE_SECTORS >= run->sectors) {
            run->place = 0;
        }
        *ret_sector = run->place++ * PIECE_SECTORS;
        slot->sectors = run->sectors - *ret_sector < PIECE_SECTORS ? run->sectors - *ret_sector : PIECE_SECTORS;
    }
    pthread_mutex_unlock(&run->lock);
    return more;
}

static void ended(void *data, VixError result);

static void ask(struct slot *slot)
{
    uint64_t sector;
    if (next_piece(slot->run, slot, &sector)) {
        VixError code = VixDiskLib_ReadAsync(slot->run->disk, sector, slot->sectors, slot->bytes, ended, slot);
        if (code != VIX_ASYNC) {
            note(slot->run, 0, code, VixDiskLibExt_LastErrorDetail());
        }
    }
}

static void ended(void *data, VixError result)
{
    struct slot *slot = data;
    note(slot->run, slot->sectors, result, "with several reads at once");
    ask(slot);
}

static void one_by_one(struct run *run)
{
    uint64_t sector;
    while (next_piece(run, &run->slots[0], &sector)) {
        VixError code = VixDiskLib_Read(run->disk, sector, run->slots[0].sectors, run->slots[0].bytes);
        note(run, run->slots[0].sectors, code, code != VIX_OK ? VixDiskLibExt_LastErrorDetail() : "");
    }
}

void doctor_speed(VixDiskLibHandle disk, uint64_t capacity, unsigned depth, uint64_t *place, struct doctor_rate *ret)
{
    struct run run = {.disk = disk, .sectors = capacity / SECTOR_BYTES, .place = *place, .rate = ret};
    uint8 *bytes = malloc(depth * PIECE_BYTES);
    *ret = (struct doctor_rate){.code = VIX_OK};
    if (bytes == NULL) {
        ret->code = VIX_E_OUT_OF_MEMORY;
        snprintf(ret->detail, sizeof ret->detail, "of this machine");
        return;
    }
    pthread_mutex_init(&run.lock, NULL);
    run.left = (run.sectors + PIECE_SECTORS - 1) / PIECE_SECTORS;
    uint64_t start = now_ns();
    run.end_ns = start + SPEED_NS;
    for (unsigned i = 0; i < depth; i++) {
        run.slots[i] = (struct slot){.run = &run, .bytes = bytes + i * PIECE_BYTES};
    }
    if (depth == 1) {
        one_by_one(&run);
    } else {
        for (unsigned i = 0; i < depth; i++) {
            ask(&run.slots[i]);
        }
        VixError code = VixDiskLib_Wait(disk);
        if (code != VIX_OK) {
            note(&run, 0, code, VixDiskLibExt_LastErrorDetail());
        }
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    ret->mb_per_s = seconds > 0 ? (double)(run.done * SECTOR_BYTES) / 1e6 / seconds : 0;
    *place = run.place;
    pthread_mutex_destroy(&run.lock);
    free(bytes);
}
