/* SPDX-License-Identifier: BSD-3-Clause */
/* The map of a disk that a host's lease tells. The first line is the capacity of the disk; what follows, up to a line
 * "%%", is the inside of the answer to AcquireLeaseExt; then, apart in the same way, those to LeaseMapDiskRegion, of
 * which the last one is given again and again. One that begins with "!" is a fault of that type. A map that is believed
 * covers the disk once and leads to bytes that the LUNs have; and those are what is read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/lease.h"
#include "soap/soap.h"
#include "soap_peer.h"
#include "vmfs/vmfs_int.h"

#define LUNS 2u
#define EXTENT (UINT64_C(256) << 20) /* of the volume, on each LUN */
#define DATA_OFF (UINT64_C(18) << 20)
#define LUN_BYTES (DATA_OFF + EXTENT + (UINT64_C(1) << 20))
#define UUID "52112c2e-60f5b79e-1b9c-000c29aabbcc"
#define ANSWERS_MAX 300u /* in all: no server is waited for for ever */
#define LOOKS 64u        /* at ends of runs */
#define LOOK_SECTORS 2u
#define RUNS_MAX (2u * VIM_LEASE_EXTENTS_MAX + 1)

static const char *const names[LUNS] = {"naa.600508b1001c5e0ff1ce000000000000", "naa.600508b1001c5e0ff1ce000000000001"};

/* ---- the LUNs ---- */

struct lun {
    struct store base;
    unsigned number;
};

/** Of each sector another, and of each byte in it. */
static uint8_t byte_at(unsigned lun, uint64_t off)
{
    return (uint8_t)(off / SECTOR_SIZE * 31 + off % SECTOR_SIZE * 7 + lun * 101 + 1);
}

static VixError lun_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    (void)err;
    for (int i = 0; i < iovcnt; i++) {
        uint8_t *to = iov[i].iov_base;
        FUZZ_ASSERT(off <= LUN_BYTES && iov[i].iov_len <= LUN_BYTES - off, "%zu bytes at %" PRIu64 " of %s",
                    iov[i].iov_len, off, s->path);
        for (size_t n = 0; n < iov[i].iov_len; n++) {
            to[n] = byte_at(((struct lun *)s)->number, off + n);
        }
        off += iov[i].iov_len;
    }
    return VIX_OK;
}

static VixError lun_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    (void)s, (void)err;
    *ret_size = LUN_BYTES;
    return VIX_OK;
}

/* A lease needs no more than these. */
static const struct store_ops lun_ops = {.readv = lun_readv, .size = lun_size};
static char paths[LUNS][5] = {"lun0", "lun1"};
static struct lun luns[LUNS] = {{{.ops = &lun_ops, .path = paths[0], .align = 512}, 0},
                                {{.ops = &lun_ops, .path = paths[1], .align = 512}, 1}};
static struct store *const stores[LUNS] = {&luns[0].base, &luns[1].base};

static struct vmfs_segment segments[LUNS] = {{.off = 0, .len = EXTENT, .lun_off = DATA_OFF, .lun = 0},
                                             {.off = EXTENT, .len = EXTENT, .lun_off = DATA_OFF, .lun = 1}};
static const struct vmfs volume = {.luns = {&luns[0].base, &luns[1].base},
                                   .lun_count = LUNS,
                                   .segments = segments,
                                   .segment_count = LUNS,
                                   .info = {.uuid = UUID, .block_size = 1 << 20, .size = LUNS * EXTENT}};

/* ---- the host ---- */

static const char no_map[2];
static const char *acquired, *mapped; /* what is told; mapped: the next one; there are two NULs at the very end */
static unsigned answers;

/** Ends a part of the input at its "%%"; the next one, NULL if it is the last. */
static char *cut(char *text)
{
    char *end = strstr(text, "%%\n");

    if (end == NULL) {
        return NULL;
    }
    *end = '\0';
    return end + 3;
}

static const char *next_map(void)
{
    const char *now = mapped;

    if (now[strlen(now) + 1] != '\0') {
        mapped = now + strlen(now) + 3; /* behind the end of "%%\n" */
    }
    return now;
}

static const char *inside(const char *method)
{
    if (strcmp(method, "RetrieveServiceContent") == 0) {
        return "<returnval><about><fullName>x</fullName><apiType>VirtualCenter</apiType></about>"
               "<propertyCollector>p</propertyCollector><sessionManager>s</sessionManager></returnval>";
    }
    if (strcmp(method, "RetrieveInternalContent") == 0) {
        return "<returnval><diskManager type=\"HostDiskManager\">m</diskManager></returnval>";
    }
    if (strcmp(method, "AcquireLeaseExt") == 0) {
        return acquired;
    }
    return strcmp(method, "LeaseMapDiskRegion") == 0 ? next_map() : "<returnval/>";
}

static void write_answer(const char *method, struct xml_text *x, struct http_answer *ret_answer)
{
    const char *text = inside(method);

    ret_answer->status = text[0] == '!' ? 500 : 200;
    if (text[0] == '!') {
        CLEANUP_FREE char *type = strndup(text + 1, strcspn(text + 1, "\n"));
        FUZZ_ASSERT(type != NULL, "no memory");
        soap_fault(x, type, "why", NULL);
    } else {
        soap_response_begin(x, method);
        xml_raw(x, text);
        soap_response_end(x, method);
    }
}

bool soap_peer_answer(const struct http_request *request, const char *cookie, const char *method,
                      struct http_answer *ret_answer)
{
    struct xml_text x = {0};

    (void)request, (void)cookie;
    *ret_answer = (struct http_answer){.status = 404};
    if (method[0] != '\0') {
        if (answers++ >= ANSWERS_MAX) {
            return false;
        }
        write_answer(method, &x, ret_answer);
        FUZZ_ASSERT(xml_done(&x, NULL) == VIX_OK, "no memory");
    } else {
        xml_raw(&x, "");
    }
    ret_answer->body = x.bytes;
    ret_answer->len = x.len;
    ret_answer->room = x.room;
    return true;
}

/* ---- what must hold ---- */

static void check_runs(const struct lease *l, uint64_t capacity)
{
    size_t count;
    const struct vmfs_run *runs = lease_runs(l, &count);
    uint64_t at = 0;

    FUZZ_ASSERT(count > 0 && count <= RUNS_MAX, "%zu runs", count);
    for (size_t i = 0; i < count; i++) {
        const struct vmfs_run *r = &runs[i];
        FUZZ_ASSERT(r->off == at && r->len > 0 && r->len <= capacity - at,
                    "%" PRIu64 " bytes at %" PRIu64 ", not %" PRIu64, r->len, r->off, at);
        FUZZ_ASSERT(r->off % SECTOR_SIZE == 0 && r->len % SECTOR_SIZE == 0, "a part of a sector at %" PRIu64, r->off);
        FUZZ_ASSERT(r->kind == VMFS_DATA || r->kind == VMFS_HOLE || r->kind == VMFS_TO_BE_ZEROED, "kind %d",
                    (int)r->kind);
        FUZZ_ASSERT(r->kind != VMFS_DATA ||
                        (r->lun < LUNS && r->lun_off <= LUN_BYTES && r->len <= LUN_BYTES - r->lun_off),
                    "%" PRIu64 " bytes at %" PRIu64 " of LUN %zu", r->len, r->lun_off, r->lun);
        FUZZ_ASSERT(lease_run_at(l, r->off) == r && lease_run_at(l, r->off + r->len - 1) == r, "run %zu is not found",
                    i);
        at += r->len;
    }
    FUZZ_ASSERT(at == capacity, "the runs end at %" PRIu64, at);
}

/** Reads over the end of a run. */
static void read_end(const struct lease *l, struct disk *d, const struct vmfs_run *r)
{
    uint8_t got[LOOK_SECTORS * SECTOR_SIZE];
    uint64_t off = r->off + r->len - SECTOR_SIZE;
    uint64_t len = min_u64(sizeof got, d->capacity * SECTOR_SIZE - off);

    FUZZ_ASSERT(disk_read(d, off / SECTOR_SIZE, len / SECTOR_SIZE, got, NULL) == VIX_OK, "no read at %" PRIu64, off);
    for (uint64_t n = 0; n < len; n++) {
        const struct vmfs_run *of = n < SECTOR_SIZE ? r : lease_run_at(l, off + n);
        uint8_t right = of->kind == VMFS_DATA ? byte_at((unsigned)of->lun, of->lun_off + (off + n - of->off)) : 0;
        FUZZ_ASSERT(got[n] == right, "byte %" PRIu64 " is another one", off + n);
    }
}

static void read_disk(struct lease *l)
{
    size_t count;
    const struct vmfs_run *runs = lease_runs(l, &count);
    struct disk *d = NULL;
    char *keys = NULL;
    size_t len = 0;

    FUZZ_ASSERT(disk_lease_new(l, &d, NULL) == VIX_OK, "no memory");
    for (size_t i = 0; i < count && i < LOOKS; i++) {
        read_end(l, d, &runs[i]);
    }
    FUZZ_ASSERT(lease_keys(l, &keys, &len, NULL) == VIX_OK && keys[len - 1] == '\0', "keys");
    free(keys);
    (void)disk_close(d, NULL);
}

static struct vim_session *session(void)
{
    static struct vim_session *s;
    const struct vim_login how = {.host = "peer", .user = "user", .password = "password", .insecure = true};

    FUZZ_ASSERT(s != NULL || vim_login(&how, &s, NULL) == VIX_OK, "no login");
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FREE char *text = calloc(1, size + 2);
    struct lease *lease = NULL;
    struct err err;
    char *rest;

    FUZZ_ASSERT(text != NULL, "no memory");
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)(data[i] != 0 ? data[i] : ' ');
    }
    answers = 0;
    struct lease_request q = {.session = session(),
                              .snapshot = "snapshot-1",
                              .path = "[store] vm1/disk.vmdk",
                              .read_only = true,
                              .capacity = strtoull(text, &rest, 10) / SECTOR_SIZE * SECTOR_SIZE,
                              .luns = stores,
                              .names = names,
                              .lun_count = LUNS,
                              .volume = &volume};
    q.capacity = max_u64(q.capacity, SECTOR_SIZE);
    acquired = rest + (*rest == '\n');
    char *next = cut(rest);
    mapped = next != NULL ? next : no_map;
    while (next != NULL) {
        next = cut(next);
    }
    answers = 0;
    err_init(&err);
    if (lease_take(&q, &lease, &err) != VIX_OK) {
        FUZZ_ASSERT(err.text[0] != '\0', "refused without a sentence");
        return 0;
    }
    check_runs(lease, q.capacity);
    read_disk(lease);
    lease_release(lease);
    return 0;
}
