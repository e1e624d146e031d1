/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps of leases that are as long as can be, and longer: what a host tells of a disk's blocks is bounded. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../fuzz/soap_peer.h"
#include "disk/lease.h"
#include "soap/soap.h"

#define LUN "naa.600508b1001c5e0ff1ce000000000000"
#define LUN_BYTES (UINT64_C(1) << 30)
#define PAGE (1u << 18) /* extents that are told at once */

/* ---- a LUN ---- */

static VixError lun_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    (void)s, (void)err;
    for (int i = 0; i < iovcnt; i++) {
        memset(iov[i].iov_base, (int)(off / SECTOR_SIZE % 251), iov[i].iov_len);
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

static const struct store_ops lun_ops = {.readv = lun_readv, .size = lun_size};
static char lun_path[] = "lun";
static struct store lun = {.ops = &lun_ops, .path = lun_path, .align = 512};
static struct store *const luns[] = {&lun};
static const char *const names[] = {LUN};

/* ---- a host ---- */

static uint64_t sectors; /* of the disk */
static uint64_t part;    /* units of the map in an answer, 0: all that was asked for */
static bool fragmented;  /* each sector has an extent, none goes on where the last one ended */
static unsigned map_calls, releases;

static uint64_t number_in(const char *body, const char *element)
{
    const char *at = strstr(body, element);
    assert_non_null(at);
    return strtoull(at + strlen(element) + 1, NULL, 10);
}

/** Appended by ourselves: a text of SOAP grows too slowly for 25 MB. */
static void add_extents(struct xml_text *x, uint64_t start, uint64_t length)
{
    char *room = malloc(length * 110 + 200);
    size_t len = 0;

    assert_non_null(room);
    len += (size_t)sprintf(room, "<map xsi:type=\"HostDiskBlockInfoScsiMapping\"><element>" LUN "</element>");
    for (uint64_t i = start; i < start + length; i++) {
        len += (size_t)sprintf(room + len,
                               "<extent><logicalStart>%" PRIu64 "</logicalStart><physicalStart>%" PRIu64
                               "</physicalStart><length>1</length></extent>",
                               i, i % 1000 * 2);
    }
    (void)sprintf(room + len, "</map>");
    xml_raw(x, room);
    free(room);
}

static void tell_map(struct xml_text *x, const char *body)
{
    uint64_t start = number_in(body, "<mapStart"), length = number_in(body, "<mapLength");
    char text[200];

    map_calls++;
    length = part != 0 && part < length ? part : length;
    (void)snprintf(text, sizeof text,
                   "<returnval><size>%" PRIu64 "</size><mapStart>%" PRIu64 "</mapStart><mapLength>%" PRIu64
                   "</mapLength>",
                   sectors, start, length);
    xml_raw(x, text);
    if (fragmented) {
        add_extents(x, start, length);
    }
    xml_raw(x, "</returnval>");
}

static void tell(struct xml_text *x, const char *method, const char *body)
{
    char text[200];

    if (strcmp(method, "RetrieveServiceContent") == 0) {
        xml_raw(x, "<returnval><about><apiType>HostAgent</apiType></about><propertyCollector>p</propertyCollector>"
                   "<sessionManager>s</sessionManager></returnval>");
    } else if (strcmp(method, "RetrieveInternalContent") == 0) {
        xml_raw(x, "<returnval><diskManager type=\"HostDiskManager\">m</diskManager></returnval>");
    } else if (strcmp(method, "AcquireLeaseExt") == 0) {
        (void)snprintf(text, sizeof text,
                       "<returnval><lease>lease-1</lease><blockInfo><size>%" PRIu64
                       "</size><granularity>512</granularity></blockInfo></returnval>",
                       sectors);
        xml_raw(x, text);
    } else if (strcmp(method, "LeaseMapDiskRegion") == 0) {
        tell_map(x, body);
    }
    releases += strcmp(method, "ReleaseLease") == 0;
}

bool soap_peer_answer(const struct http_request *request, const char *cookie, const char *method,
                      struct http_answer *ret_answer)
{
    struct xml_text x = {0};

    (void)cookie;
    soap_response_begin(&x, method);
    tell(&x, method, request->body);
    soap_response_end(&x, method);
    assert_int_equal(xml_done(&x, NULL), VIX_OK);
    *ret_answer =
        (struct http_answer){.status = method[0] != '\0' ? 200 : 404, .body = x.bytes, .len = x.len, .room = x.room};
    return true;
}

static VixError take(struct lease **ret_lease, struct err *err)
{
    static struct vim_session *s;
    const struct vim_login how = {.host = "peer", .user = "user", .password = "password", .insecure = true};

    if (s == NULL) {
        assert_int_equal(vim_login(&how, &s, NULL), VIX_OK);
    }
    const struct lease_request q = {.session = s,
                                    .snapshot = "snapshot-1",
                                    .path = "[store] vm1/disk.vmdk",
                                    .read_only = true,
                                    .capacity = sectors * SECTOR_SIZE,
                                    .luns = luns,
                                    .names = names,
                                    .lun_count = 1};
    map_calls = releases = 0;
    err_init(err);
    return lease_take(&q, ret_lease, err);
}

/* ---- tests ---- */

static void an_answer_full_of_extents(void **state)
{
    struct lease *l = NULL;
    struct disk *d = NULL;
    struct err err;
    uint8_t got[2 * SECTOR_SIZE];
    size_t count;

    (void)state;
    sectors = PAGE;
    fragmented = true;
    part = 0;
    assert_int_equal(take(&l, &err), VIX_OK);
    assert_int_equal(map_calls, 1);
    const struct vmfs_run *runs = lease_runs(l, &count);
    assert_int_equal(count, PAGE);
    assert_int_equal(runs[count - 1].off, (sectors - 1) * SECTOR_SIZE);
    assert_int_equal(disk_lease_new(l, &d, &err), VIX_OK);
    for (uint64_t i = 0; i < sectors - 1; i += 9991) {
        assert_int_equal(disk_read(d, i, 2, got, &err), VIX_OK);
        assert_int_equal(got[0], i % 1000 * 2 % 251);
        assert_int_equal(got[SECTOR_SIZE], (i + 1) % 1000 * 2 % 251);
    }
    assert_int_equal(disk_close(d, &err), VIX_OK);
    lease_release(l);
    assert_int_equal(releases, 1);
}

static void more_extents(void **state)
{
    struct lease *l = NULL;
    struct err err;

    (void)state;
    sectors = VIM_LEASE_EXTENTS_MAX + 1;
    fragmented = true;
    part = 0;
    assert_int_equal(take(&l, &err), VIX_E_INVALID_XML);
    assert_non_null(strstr(err.text, "too many extents"));
    assert_int_equal(releases, 1);
}

static void answers_of_one_unit(void **state)
{
    struct lease *l = NULL;
    struct err err;

    (void)state;
    sectors = UINT64_C(1) << 40;
    fragmented = false;
    part = 1;
    assert_int_equal(take(&l, &err), VIX_E_INVALID_XML);
    assert_non_null(strstr(err.text, "too small a part of the map"));
    assert_int_equal(map_calls, 4096);
    assert_int_equal(releases, 1);
}

/* All that there is to a large disk that is empty. */
static void a_hole(void **state)
{
    struct lease *l = NULL;
    struct err err;
    size_t count;

    (void)state;
    sectors = UINT64_C(4096) * PAGE;
    fragmented = false;
    part = 0;
    assert_int_equal(take(&l, &err), VIX_OK);
    const struct vmfs_run *runs = lease_runs(l, &count);
    assert_int_equal(count, 1);
    assert_int_equal(runs[0].kind, VMFS_HOLE);
    assert_int_equal(runs[0].len, sectors * SECTOR_SIZE);
    lease_release(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_full_of_extents),
        cmocka_unit_test(more_extents),
        cmocka_unit_test(answers_of_one_unit),
        cmocka_unit_test(a_hole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
