/* SPDX-License-Identifier: BSD-3-Clause */
/* test_chain_parents.c - chains of several links in memory: finding and checking parents, reading through, attaching,
 * and what is left when writing fails or the host dies. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/store_fault.h"
#include "vmdk/chain.h"
#include "vmdk/create.h"

#define CAPACITY 700u /* sectors: five grains and a part */
#define GRAIN 128u

static struct store_fs *mem, *fs;

static int set_up(void **state)
{
    (void)state;
    mem = store_fs_mem_new(NULL);
    fs = mem != NULL ? store_fault_new(mem, NULL) : NULL;
    return fs == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    store_fault_free(fs);
    store_fs_mem_free(mem);
    return 0;
}

/* ---- making and opening ---- */

static void make(const char *path, VixDiskLibDiskType type, uint64_t capacity, const char *hint, uint32_t parent_cid)
{
    struct create_params p = {.type = type,
                              .adapter = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
                              .capacity = capacity,
                              .parent_hint = hint,
                              .parent_cid = parent_cid};
    struct err err;

    err_init(&err);
    VixError code = vmdk_create(fs, path, &p, NULL, NULL, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
}

static void put_text(const char *path, const char *text)
{
    struct store *s = NULL;

    assert_int_equal(fs->ops->create(fs, path, 0, 0644, &s, NULL), VIX_OK);
    assert_int_equal(store_write(s, text, strlen(text), 0, NULL), VIX_OK);
    store_close(s);
}

static struct chain *open_on(struct store_fs *where, const char *path, uint32_t flags)
{
    struct chain *c = NULL;
    struct err err;

    err_init(&err);
    VixError code = chain_open(where, path, flags, NULL, &c, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
    return c;
}

static struct chain *open_ok(const char *path, uint32_t flags)
{
    return open_on(fs, path, flags);
}

static void close_ok(struct chain *c)
{
    assert_int_equal(chain_close(c, NULL), VIX_OK);
}

static void open_fails(const char *path, uint32_t flags, VixError expected, const char *says)
{
    struct chain *c = NULL;
    struct err err;

    err_init(&err);
    VixError code = chain_open(fs, path, flags, NULL, &c, &err);
    if (code != expected || strstr(err.text, says) == NULL) {
        print_error("%s: code %d, \"%s\", expected %d, \"%s\"\n", path, (int)code, err.text, (int)expected, says);
    }
    assert_int_equal(code, expected);
    assert_int_equal(err.code, expected);
    assert_non_null(strstr(err.text, says));
    assert_null(c);
}

static uint32_t cid_of(const char *path)
{
    struct chain *c = open_ok(path, CHAIN_SINGLE_LINK | CHAIN_NO_LOCK);
    uint32_t cid = c->links[0]->desc->cid;

    close_ok(c);
    return cid;
}

/** A child of the disk at parent, named by hint. */
static void make_child(const char *path, VixDiskLibDiskType type, const char *parent, const char *hint)
{
    make(path, type, CAPACITY, hint, cid_of(parent));
}

static void write_fill(struct chain *c, uint64_t sector, uint64_t nsectors, uint8_t fill)
{
    uint8_t buf[16 * GRAIN * SECTOR_SIZE];
    struct err err;

    assert_true(nsectors * SECTOR_SIZE <= sizeof buf);
    memset(buf, fill, nsectors * SECTOR_SIZE);
    err_init(&err);
    VixError code = chain_write(c, sector, nsectors, buf, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
}

static void assert_fill(struct chain *c, uint64_t sector, uint64_t nsectors, uint8_t fill)
{
    uint8_t buf[CAPACITY * SECTOR_SIZE];

    assert_int_equal(chain_read(c, sector, nsectors, buf, NULL), VIX_OK);
    for (uint64_t i = 0; i < nsectors * SECTOR_SIZE; i++) {
        if (buf[i] != fill) {
            fail_msg("sector %" PRIu64 " holds %u, not %u", sector + i / SECTOR_SIZE, buf[i], fill);
        }
    }
}

/** base.vmdk (flat) full of 1, kid.vmdk (sparse) with 2 in sectors 130 to 139. */
static void make_pair(void)
{
    make("d/base.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, CAPACITY, NULL, 0);
    struct chain *c = open_ok("d/base.vmdk", CHAIN_WRITE);
    write_fill(c, 0, CAPACITY, 1);
    close_ok(c);
    make_child("d/kid.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "d/base.vmdk", "base.vmdk");
    c = open_ok("d/kid.vmdk", CHAIN_WRITE);
    write_fill(c, 130, 10, 2);
    close_ok(c);
}

/* ---- reading and writing ---- */

static void reads_fall_through_and_writes_stay_above(void **state)
{
    struct chain_run run;

    (void)state;
    make_pair();
    uint32_t base_cid = cid_of("d/base.vmdk");
    struct chain *c = open_ok("d/kid.vmdk", CHAIN_READ);
    assert_int_equal(c->link_count, 2);
    assert_fill(c, 0, 130, 1);
    assert_fill(c, 130, 10, 2);
    assert_fill(c, 140, CAPACITY - 140, 1);
    assert_int_equal(chain_map(c, 0, CAPACITY, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.kind, RUN_DATA);
    assert_int_equal(run.nsectors, GRAIN);
    assert_int_equal(run.depth, 1);
    assert_string_equal(run.path, "d/base-flat.vmdk");
    assert_int_equal(chain_map(c, GRAIN, 1, 0, &run, NULL), VIX_OK);
    assert_int_equal(run.depth, 0);
    assert_string_equal(run.path, "d/kid.vmdk");
    assert_int_equal(run.nsectors, 1);
    close_ok(c);
    c = open_ok("d/base.vmdk", CHAIN_READ);
    assert_fill(c, 0, CAPACITY, 1);
    close_ok(c);
    assert_int_equal(cid_of("d/base.vmdk"), base_cid);
}

static void twenty_links_read_as_one_disk(void **state)
{
    char path[32], parent[32] = "l00.vmdk";

    (void)state;
    make(parent, VIXDISKLIB_DISK_SPLIT_SPARSE, CAPACITY, NULL, 0);
    for (unsigned i = 0; i < 20; i++) {
        struct chain *c = open_ok(parent, CHAIN_WRITE);
        assert_int_equal(c->link_count, i + 1);
        write_fill(c, i * 30, 40, (uint8_t)(i + 1));
        close_ok(c);
        (void)snprintf(path, sizeof path, "l%02u.vmdk", i + 1);
        make_child(path, i % 2 == 0 ? VIXDISKLIB_DISK_MONOLITHIC_SPARSE : VIXDISKLIB_DISK_SPLIT_SPARSE, parent, parent);
        (void)snprintf(parent, sizeof parent, "%s", path);
    }
    struct chain *c = open_ok(path, CHAIN_READ);
    assert_int_equal(c->link_count, 21);
    for (unsigned i = 0; i < 20; i++) {
        assert_fill(c, i * 30, 30, (uint8_t)(i + 1));
    }
    assert_fill(c, 610, CAPACITY - 610, 0);
    close_ok(c);
}

static void random_operations_equal_a_model(void **state)
{
    static uint8_t model[CAPACITY * SECTOR_SIZE], buf[CAPACITY * SECTOR_SIZE];
    static const VixDiskLibDiskType types[] = {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, VIXDISKLIB_DISK_SPLIT_SPARSE,
                                               VIXDISKLIB_DISK_VMFS_SPARSE};
    unsigned seed = 20240611, links = 0;
    char path[32] = "r0.vmdk", next[32];

    (void)state;
    make(path, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY, NULL, 0);
    memset(model, 0, sizeof model);
    struct chain *c = open_ok(path, CHAIN_WRITE);
    for (unsigned step = 0; step < 4000; step++) {
        unsigned what = (unsigned)rand_r(&seed) % 200;
        unsigned sector = (unsigned)rand_r(&seed) % CAPACITY;
        unsigned count = 1 + (unsigned)rand_r(&seed) % (what % 3 == 0 ? CAPACITY - sector : 8);
        count = count > CAPACITY - sector ? CAPACITY - sector : count;
        if (what == 0 && links < 12) {
            close_ok(c);
            (void)snprintf(next, sizeof next, "r%u.vmdk", ++links);
            make_child(next, types[links % 3], path, path);
            (void)snprintf(path, sizeof path, "%s", next);
            c = open_ok(path, CHAIN_WRITE);
        } else if (what == 1) {
            close_ok(c);
            c = open_ok(path, CHAIN_WRITE);
        } else if (what < 100) {
            int fill = rand_r(&seed) % 4; /* zeros too */
            memset(buf, fill, count * SECTOR_SIZE);
            memset(model + sector * SECTOR_SIZE, fill, count * SECTOR_SIZE);
            assert_int_equal(chain_write(c, sector, count, buf, NULL), VIX_OK);
        } else {
            memset(buf, 0xEE, count * SECTOR_SIZE);
            assert_int_equal(chain_read(c, sector, count, buf, NULL), VIX_OK);
            if (memcmp(buf, model + sector * SECTOR_SIZE, count * SECTOR_SIZE) != 0) {
                fail_msg("step %u: sectors %u to %u differ", step, sector, sector + count - 1);
            }
        }
    }
    assert_true(links > 5);
    close_ok(c);
}

/* ---- checks of the chain ---- */

static void a_parent_that_was_written_to_is_refused(void **state)
{
    (void)state;
    make_pair();
    struct chain *c = open_ok("d/base.vmdk", CHAIN_WRITE);
    write_fill(c, 0, 1, 9);
    close_ok(c);
    open_fails("d/kid.vmdk", CHAIN_READ, VIX_E_DISK_CID_MISMATCH, "d/base.vmdk");
    c = open_ok("d/kid.vmdk", CHAIN_SINGLE_LINK);
    assert_fill(c, 130, 10, 2);
    close_ok(c);
}

static void a_missing_parent_is_told(void **state)
{
    (void)state;
    make_pair();
    assert_int_equal(mem->ops->rename(mem, "d/base-flat.vmdk", "d/moved", NULL), VIX_OK);
    open_fails("d/kid.vmdk", CHAIN_READ, VIX_E_DISK_OPENPARENT, "base-flat.vmdk");
    assert_int_equal(mem->ops->unlink(mem, "d/base.vmdk", NULL), VIX_OK);
    open_fails("d/kid.vmdk", CHAIN_READ, VIX_E_DISK_OPENPARENT, "base.vmdk");
    put_text("d/base.vmdk", "no disk");
    open_fails("d/kid.vmdk", CHAIN_READ, VIX_E_DISK_INVALIDDISK, "d/base.vmdk");
}

static void a_single_link_takes_only_whole_grains(void **state)
{
    uint8_t buf[GRAIN * SECTOR_SIZE];
    struct err err;

    (void)state;
    make_pair();
    struct chain *c = open_ok("d/kid.vmdk", CHAIN_WRITE | CHAIN_SINGLE_LINK);
    assert_int_equal(c->link_count, 1);
    assert_fill(c, 0, GRAIN, 0);
    memset(buf, 3, sizeof buf);
    err_init(&err);
    assert_int_equal(chain_write(c, 1, 5, buf, &err), VIX_E_DISK_PARTIALCHAIN);
    assert_non_null(strstr(err.text, "d/kid.vmdk"));
    assert_int_equal(chain_write(c, 2 * GRAIN, GRAIN, buf, NULL), VIX_OK);
    assert_int_equal(chain_write(c, GRAIN + 5, 1, buf, NULL), VIX_OK); /* the grain is there already */
    close_ok(c);
    c = open_ok("d/kid.vmdk", CHAIN_READ);
    assert_fill(c, 0, GRAIN, 1);
    assert_fill(c, GRAIN + 5, 1, 3);
    assert_fill(c, 2 * GRAIN, GRAIN, 3);
    close_ok(c);
}

static void circles_are_found(void **state)
{
    (void)state;
    make("a.vmdk", VIXDISKLIB_DISK_SPLIT_SPARSE, CAPACITY, "a.vmdk", 0);
    uint32_t cid = cid_of("a.vmdk");
    assert_int_equal(mem->ops->unlink(mem, "a.vmdk", NULL), VIX_OK);
    assert_int_equal(mem->ops->unlink(mem, "a-s001.vmdk", NULL), VIX_OK);
    char text[512];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof text,
                       "version=1\nCID=%08" PRIx32 "\nparentCID=%08" PRIx32 "\ncreateType=\"custom\"\n"
                       "parentFileNameHint=\"%c.vmdk\"\nRW 100 ZERO\n",
                       cid, cid, i == 0 ? 'y' : 'x');
        put_text(i == 0 ? "x.vmdk" : "y.vmdk", text);
    }
    open_fails("x.vmdk", CHAIN_READ, VIX_E_DISK_INVALIDCHAIN, "circle");
    open_fails("x.vmdk", CHAIN_WRITE, VIX_E_DISK_INVALIDCHAIN, "circle");
    (void)snprintf(text, sizeof text,
                   "version=1\nCID=1\nparentCID=1\ncreateType=\"custom\"\n"
                   "parentFileNameHint=\"z.vmdk\"\nRW 100 ZERO\n");
    put_text("z.vmdk", text);
    open_fails("z.vmdk", CHAIN_WRITE, VIX_E_DISK_INVALIDCHAIN, "circle");
}

static void the_depth_is_limited(void **state)
{
    char text[256], path[32];

    (void)state;
    for (unsigned i = 0; i <= CHAIN_MAX_LINKS; i++) {
        (void)snprintf(text, sizeof text,
                       "version=1\nCID=%x\nparentCID=%x\ncreateType=\"custom\"\nparentFileNameHint=\"n%u\"\n"
                       "RW 100 ZERO\n",
                       i, i == 0 ? CID_NO_PARENT : i - 1, i - 1);
        (void)snprintf(path, sizeof path, "n%u", i);
        put_text(path, text);
    }
    struct chain *c = open_ok("n63", CHAIN_READ);
    assert_int_equal(c->link_count, CHAIN_MAX_LINKS);
    assert_fill(c, 0, 100, 0);
    close_ok(c);
    open_fails("n64", CHAIN_READ, VIX_E_DISK_TOOMANYREDO, "64");
}

static void links_must_fit(void **state)
{
    (void)state;
    make_pair();
    uint32_t cid = cid_of("d/base.vmdk");
    make("d/long.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY + 1, "base.vmdk", cid);
    open_fails("d/long.vmdk", CHAIN_READ, VIX_E_DISK_CAPACITY_MISMATCH, "701");
    char text[512];
    (void)snprintf(text, sizeof text,
                   "version=1\nCID=1\nparentCID=%x\ncreateType=\"vmfs\"\nparentFileNameHint=\"base.vmdk\"\n"
                   "RW %u VMFS \"base-flat.vmdk\"\n",
                   cid, CAPACITY);
    put_text("d/flatkid.vmdk", text);
    open_fails("d/flatkid.vmdk", CHAIN_READ, VIX_E_DISK_INVALIDCHAIN, "sparse");
    (void)snprintf(text, sizeof text,
                   "version=1\nCID=1\nparentCID=%x\nisNativeSnapshot=\"yes\"\ncreateType=\"custom\"\n"
                   "parentFileNameHint=\"base.vmdk\"\nRW %u ZERO\n",
                   cid, CAPACITY);
    put_text("d/native.vmdk", text);
    open_fails("d/native.vmdk", CHAIN_READ, VIX_E_DISK_NOTSUPPORTED, "native");
    (void)snprintf(text, sizeof text, "version=1\nCID=1\nparentCID=%x\ncreateType=\"custom\"\nRW %u ZERO\n", cid,
                   CAPACITY);
    put_text("d/nohint.vmdk", text);
    open_fails("d/nohint.vmdk", CHAIN_READ, VIX_E_DISK_OPENPARENT, "parentFileNameHint");
}

static void parents_are_found_by_the_rules(void **state)
{
    static const struct {
        const char *hint;
        uint32_t flags;
        VixError code;
    } cases[] = {
        {"base.vmdk", 0, VIX_OK},
        {"./base.vmdk", 0, VIX_OK},
        {"/d/base.vmdk", 0, VIX_OK},
        {"/vmfs/volumes/1234/vm/base.vmdk", 0, VIX_OK},
        {"C:\\vms\\base.vmdk", 0, VIX_OK},
        {"sub\\low.vmdk", 0, VIX_OK},
        {"sub/low.vmdk", 0, VIX_OK},
        {"../e/base.vmdk", 0, VIX_OK}, /* not there: the name beside the child is taken */
        {"../s/far.vmdk", 0, VIX_E_FILE_ACCESS_ERROR},
        {"../s/far.vmdk", CHAIN_OUTSIDE_OK, VIX_OK},
        {"/s/far.vmdk", CHAIN_OUTSIDE_OK, VIX_OK},
        {"/gone/s/far.vmdk", CHAIN_OUTSIDE_OK, VIX_OK}, /* by the name of the folder, beside the child's */
        {"/gone/s/far.vmdk", 0, VIX_E_FILE_ACCESS_ERROR},
        {"none.vmdk", 0, VIX_E_DISK_OPENPARENT},
        {"", 0, VIX_E_DISK_OPENPARENT},
        {"/", 0, VIX_E_DISK_OPENPARENT},
        {"\\", CHAIN_OUTSIDE_OK, VIX_E_DISK_OPENPARENT},
    };
    static const char *const bases[] = {"d/base.vmdk", "d/sub/low.vmdk", "s/far.vmdk"};
    char text[512];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        put_text(bases[i], "version=1\nCID=77\nparentCID=ffffffff\ncreateType=\"custom\"\nRW 100 ZERO\n");
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "d/k%zu.vmdk", i);
        (void)snprintf(text, sizeof text,
                       "version=1\nCID=1\nparentCID=77\ncreateType=\"custom\"\nparentFileNameHint=\"%s\"\n"
                       "RW 100 ZERO\n",
                       cases[i].hint);
        put_text(path, text);
        if (cases[i].code != VIX_OK) {
            open_fails(path, cases[i].flags, cases[i].code, path);
        } else {
            struct chain *c = open_ok(path, cases[i].flags);
            assert_int_equal(c->link_count, 2);
            close_ok(c);
        }
    }
}

static void parents_are_shared_and_not_written(void **state)
{
    (void)state;
    make_pair();
    make_child("d/kid2.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "d/base.vmdk", "base.vmdk");
    struct chain *one = open_ok("d/kid.vmdk", CHAIN_WRITE);
    struct chain *two = open_ok("d/kid2.vmdk", CHAIN_WRITE);
    open_fails("d/base.vmdk", CHAIN_WRITE, VIX_E_FILE_ALREADY_LOCKED, "base");
    close_ok(open_ok("d/base.vmdk", CHAIN_READ));
    write_fill(two, 0, 1, 5);
    assert_fill(one, 0, 1, 1);
    close_ok(one);
    close_ok(two);
}

static void metadata_is_looked_up_through_the_chain(void **state)
{
    char *value = NULL, *keys = NULL;
    size_t len = 0;

    (void)state;
    put_text("b", "version=1\nCID=77\nparentCID=ffffffff\ncreateType=\"custom\"\nRW 100 ZERO\n"
                  "ddb.adapterType = \"ide\"\nddb.uuid = \"base\"\n");
    put_text("k", "version=1\nCID=78\nparentCID=77\ncreateType=\"custom\"\nparentFileNameHint=\"b\"\nRW 100 ZERO\n"
                  "ddb.UUID = \"kid\"\n");
    struct chain *c = open_ok("k", CHAIN_WRITE);
    assert_int_equal(chain_meta_get(c, "adapterType", &value, NULL), VIX_OK);
    assert_string_equal(value, "ide");
    free(value);
    assert_int_equal(chain_meta_get(c, "uuid", &value, NULL), VIX_OK);
    assert_string_equal(value, "kid");
    free(value);
    assert_int_equal(chain_meta_keys(c, &keys, &len, NULL), VIX_OK);
    assert_int_equal(len, 18);
    assert_memory_equal(keys, "adapterType\0", 12);
    free(keys);
    assert_int_equal(chain_meta_set(c, "adapterType", "lsilogic", NULL), VIX_OK);
    assert_int_equal(chain_meta_get(c, "adapterType", &value, NULL), VIX_OK);
    assert_string_equal(value, "lsilogic");
    free(value);
    close_ok(c);
    c = open_ok("b", CHAIN_READ);
    assert_int_equal(chain_meta_get(c, "adapterType", &value, NULL), VIX_OK);
    assert_string_equal(value, "ide");
    free(value);
    close_ok(c);
}

/* ---- attach ---- */

static void attach_makes_one_chain(void **state)
{
    (void)state;
    make_pair();
    struct chain *parent = open_ok("d/base.vmdk", CHAIN_READ);
    struct chain *child = open_ok("d/kid.vmdk", CHAIN_WRITE | CHAIN_SINGLE_LINK);
    assert_int_equal(chain_can_attach(parent, child, NULL), VIX_OK);
    assert_int_equal(chain_attach(parent, child, NULL), VIX_OK);
    assert_int_equal(child->link_count, 2);
    assert_fill(child, 0, 130, 1);
    write_fill(child, 300, 2, 4);
    assert_fill(child, 260, 40, 1);
    assert_fill(child, 300, 2, 4);
    assert_fill(child, 302, 50, 1);
    close_ok(child);
    close_ok(open_ok("d/base.vmdk", CHAIN_WRITE)); /* its lock is gone */
}

static void attach_fails(const char *parent_path, uint32_t parent_flags, const char *child_path, uint32_t child_flags,
                         VixError expected)
{
    struct chain *parent = open_ok(parent_path, parent_flags);
    struct chain *child = open_ok(child_path, child_flags);
    struct err err;

    err_init(&err);
    assert_int_equal(chain_can_attach(parent, child, &err), expected);
    assert_true(err.text[0] != '\0');
    assert_int_equal(chain_attach(parent, child, NULL), expected);
    uint8_t buf[SECTOR_SIZE];
    assert_int_equal(chain_read(child, 0, 1, buf, NULL), VIX_OK);
    close_ok(child);
}

static void attach_refuses_what_does_not_fit(void **state)
{
    (void)state;
    make_pair();
    uint32_t cid = cid_of("d/base.vmdk");
    make("d/other.vmdk", VIXDISKLIB_DISK_MONOLITHIC_FLAT, CAPACITY, NULL, 0);
    make("d/long.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, CAPACITY + 1, "base.vmdk", cid);
    make("d/stream.vmdk", VIXDISKLIB_DISK_STREAM_OPTIMIZED, CAPACITY, NULL, 0);
    make_child("d/kid2.vmdk", VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "d/kid.vmdk", "kid.vmdk");
    attach_fails("d/base.vmdk", 0, "d/other.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_ATTACH_ROOTLINK);
    attach_fails("d/base.vmdk", 0, "d/kid.vmdk", 0, VIX_E_INVALID_ARG);
    attach_fails("d/other.vmdk", 0, "d/kid.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_CID_MISMATCH);
    attach_fails("d/base.vmdk", 0, "d/long.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_CAPACITY_MISMATCH);
    attach_fails("d/kid.vmdk", CHAIN_SINGLE_LINK, "d/kid2.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_PARTIALCHAIN);
    attach_fails("d/kid.vmdk", 0, "d/kid.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_INVALIDCHAIN);
    attach_fails("d/stream.vmdk", CHAIN_WRITE, "d/kid.vmdk", CHAIN_SINGLE_LINK, VIX_E_DISK_PARENT_NOTALLOWED);
    struct chain *c = open_ok("d/kid.vmdk", CHAIN_READ);
    assert_int_equal(chain_attach(c, c, NULL), VIX_E_DISK_INVALIDCHAIN);
    close_ok(c);
}

/* ---- failures and crashes ---- */

static void no_data_is_written_when_the_content_id_cannot_be(void **state)
{
    uint8_t buf[SECTOR_SIZE] = {0x55};

    (void)state;
    make_pair();
    for (uint64_t nth = 1;; nth++) {
        struct chain *c = open_ok("d/kid.vmdk", CHAIN_WRITE);
        struct store_fault_rule rule = {.ops = FAULT_READ | FAULT_WRITE | FAULT_FLUSH, .nth = nth, .stays = true};
        store_fault_set(fs, &rule);
        VixError code = chain_write(c, 130, 1, buf, NULL);
        bool hit = store_fault_has_hit(fs);
        store_fault_set(fs, NULL);
        if (!hit) {
            assert_int_equal(code, VIX_OK);
            close_ok(c);
            break;
        }
        assert_int_not_equal(code, VIX_OK);
        assert_fill(c, 130, 1, 2);
        (void)chain_close(c, NULL);
        assert_true(nth < 50);
    }
}

/** After a crash at any moment of a write: if any data differs, the content ID does. */
static void data_never_changes_under_the_old_content_id(void **state)
{
    static const char *const disks[] = {"d/kid.vmdk", "d/base.vmdk"};

    (void)state;
    make_pair();
    for (size_t i = 0; i < 2; i++) {
        struct store_fs *before = store_fs_mem_clone(mem, NULL);
        uint32_t old_cid = cid_of(disks[i]);
        store_fault_record(fs);
        struct chain *c = open_ok(disks[i], CHAIN_WRITE | (i == 0 ? 0 : CHAIN_SINGLE_LINK));
        write_fill(c, 131, 3, 7);
        write_fill(c, 400, 3, 7);
        close_ok(c);
        size_t events = store_fault_events(fs);
        assert_true(events >= 4);
        for (size_t n = 0; n <= events * 3; n++) {
            struct store_fs *after = store_fs_mem_clone(before, NULL);
            assert_int_equal(store_fault_replay(fs, n / 3, (enum store_crash)(n % 3), (unsigned)n, after, NULL),
                             VIX_OK);
            c = open_on(after, disks[i], CHAIN_READ | CHAIN_SINGLE_LINK);
            uint8_t buf[SECTOR_SIZE], other[SECTOR_SIZE];
            assert_int_equal(chain_read(c, 131, 1, buf, NULL), VIX_OK);
            assert_int_equal(chain_read(c, 400, 1, other, NULL), VIX_OK);
            if (buf[0] == 7 || other[0] == 7) {
                assert_int_not_equal(c->links[0]->desc->cid, old_cid);
            }
            close_ok(c);
            store_fs_mem_free(after);
        }
        store_fs_mem_free(before);
    }
}

/** After a crash at any moment of a metadata write the descriptor is the old or the new one. */
static void metadata_is_old_or_new_after_a_crash(void **state)
{
    (void)state;
    make_pair();
    struct store_fs *before = store_fs_mem_clone(mem, NULL);
    store_fault_record(fs);
    struct chain *c = open_ok("d/base.vmdk", CHAIN_WRITE);
    assert_int_equal(chain_meta_set(c, "adapterType", "buslogic", NULL), VIX_OK);
    size_t events = store_fault_events(fs);
    close_ok(c);
    for (size_t n = 0; n <= events * 3; n++) {
        struct store_fs *after = store_fs_mem_clone(before, NULL);
        char *value = NULL;
        assert_int_equal(store_fault_replay(fs, n / 3, (enum store_crash)(n % 3), (unsigned)n, after, NULL), VIX_OK);
        c = open_on(after, "d/base.vmdk", CHAIN_READ);
        assert_int_equal(chain_meta_get(c, "adapterType", &value, NULL), VIX_OK);
        if (n / 3 == events) {
            assert_string_equal(value, "buslogic");
        }
        assert_true(strcmp(value, "buslogic") == 0 || strcmp(value, "lsilogic") == 0);
        free(value);
        close_ok(c);
        store_fs_mem_free(after);
    }
    store_fs_mem_free(before);
}

static void metadata_failures_leave_no_temporary_file(void **state)
{
    (void)state;
    make_pair();
    uint32_t kinds = FAULT_CHANGES & ~(FAULT_UNLINK | FAULT_SYNC_FOLDER);
    for (uint64_t nth = 1; nth < 20; nth++) {
        char *value = NULL;
        struct chain *c = open_ok("d/base.vmdk", CHAIN_WRITE);
        struct store_fault_rule rule = {.ops = kinds, .nth = nth, .errnum = 28};
        store_fault_set(fs, &rule);
        store_fault_record(fs);
        VixError code = chain_meta_set(c, "comment", "x", NULL);
        bool hit = store_fault_has_hit(fs);
        store_fault_set(fs, NULL);
        assert_int_equal(code, hit ? VIX_E_DISK_FULL : VIX_OK);
        assert_int_equal(chain_meta_get(c, "comment", &value, NULL), hit ? VIX_E_DISK_KEY_NOTFOUND : VIX_OK);
        free(value);
        close_ok(c);
        char line[256];
        bool created = false, removed = false;
        for (size_t i = 0; i < store_fault_events(fs); i++) {
            store_fault_describe(fs, i, line, sizeof line);
            created = created || strstr(line, "create") != NULL;
            removed = removed || strstr(line, "unlink") != NULL;
        }
        assert_int_equal(created && hit, removed);
        if (!hit) {
            assert_true(nth > 3);
            return;
        }
    }
    fail_msg("the write never went through");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(reads_fall_through_and_writes_stay_above),
        TEST(twenty_links_read_as_one_disk),
        TEST(random_operations_equal_a_model),
        TEST(a_parent_that_was_written_to_is_refused),
        TEST(a_missing_parent_is_told),
        TEST(a_single_link_takes_only_whole_grains),
        TEST(circles_are_found),
        TEST(the_depth_is_limited),
        TEST(links_must_fit),
        TEST(parents_are_found_by_the_rules),
        TEST(parents_are_shared_and_not_written),
        TEST(metadata_is_looked_up_through_the_chain),
        TEST(attach_makes_one_chain),
        TEST(attach_refuses_what_does_not_fit),
        TEST(no_data_is_written_when_the_content_id_cannot_be),
        TEST(data_never_changes_under_the_old_content_id),
        TEST(metadata_is_old_or_new_after_a_crash),
        TEST(metadata_failures_leave_no_temporary_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
