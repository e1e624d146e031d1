/* SPDX-License-Identifier: BSD-3-Clause */
/* test_descriptor.c - parsing, changing and writing of descriptors, and the refusal of nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmdk/descriptor.h"

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
#define FLAT_LINE "RW 2048 FLAT \"a-flat.vmdk\" 0\n"

static struct descriptor *parse_ok(const char *text)
{
    struct descriptor *d = NULL;
    struct err err;

    err_init(&err);
    VixError code = descriptor_parse(text, strlen(text), "t.vmdk", &d, &err);
    if (code != VIX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(code, VIX_OK);
    return d;
}

static void assert_text(const struct descriptor *d, const char *expected)
{
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(descriptor_format(d, &text, &len, NULL), VIX_OK);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, expected);
    free(text);
}

static void new_descriptor_has_the_canonical_text(void **state)
{
    struct descriptor *d = NULL;

    (void)state;
    assert_int_equal(descriptor_new("monolithicSparse", CID_FRESH, CID_NO_PARENT, NULL, &d, NULL), VIX_OK);
    assert_int_equal(descriptor_add_extent(d, ACCESS_RW, 409600, EXTENT_SPARSE, "alpha.vmdk", false, NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "virtualHWVersion", "14", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "adapterType", "lsilogic", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "geometry.sectors", "32", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "geometry.cylinders", "200", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "longContentID", "3f70a1bb94c2d6085e1177adfffffffe", NULL), VIX_OK);
    assert_int_equal(d->capacity, 409600);
    assert_text(d, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\n"
                   "createType=\"monolithicSparse\"\n\n# Extent description\nRW 409600 SPARSE \"alpha.vmdk\"\n\n"
                   "# The Disk Data Base \n#DDB\n\nddb.adapterType = \"lsilogic\"\n"
                   "ddb.geometry.cylinders = \"200\"\nddb.geometry.sectors = \"32\"\n"
                   "ddb.longContentID = \"3f70a1bb94c2d6085e1177adfffffffe\"\nddb.virtualHWVersion = \"14\"\n");
    descriptor_free(d);
}

static void a_child_names_its_parent_before_the_extents(void **state)
{
    struct descriptor *d = NULL;

    (void)state;
    assert_int_equal(descriptor_new("vmfsSparse", 0x5e1f09c2, 0x7b20c4e9, "gamma.vmdk", &d, NULL), VIX_OK);
    assert_int_equal(descriptor_add_extent(d, ACCESS_RW, 10, EXTENT_VMFSSPARSE, "g-delta.vmdk", false, NULL), VIX_OK);
    assert_int_equal(descriptor_add_extent(d, ACCESS_RDONLY, 20, EXTENT_ZERO, NULL, false, NULL), VIX_OK);
    assert_text(d, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=5e1f09c2\nparentCID=7b20c4e9\n"
                   "createType=\"vmfsSparse\"\nparentFileNameHint=\"gamma.vmdk\"\n# Extent description\n"
                   "RW 10 VMFSSPARSE \"g-delta.vmdk\"\nRDONLY 20 ZERO\n\n# The Disk Data Base \n#DDB\n\n");
    descriptor_free(d);
}

static void tolerances_of_real_files(void **state)
{
    static const char text[] = "#some converter\r\n\r\n\t VERSION = 1 \r\nencoding=\"windows-1252\" \r\nCID=ab \r\n"
                               "ParentCid=ffffffff \r\nisNativeSnapshot=\"no\"\r\nCreateType=\"Custom\" \r\n"
                               "rw  100   flat \"a \"b=c\".vmdk\"   7 deadbeef\r\nRDONLY 5 SPARSE \"s\"\r\n"
                               "NOACCESS 0 ZERO \r\nRW 9 ZERO \"\"\r\nfuture=\"x\"\r\nDDB.AdapterType=ide\r\n"
                               "ddb.a = \"one\"two\"\r\nddb.A = \"later\"\r\nCID=12\r\n";
    struct descriptor *d = parse_ok(text);

    (void)state;
    assert_int_equal(d->version, 1);
    assert_int_equal(d->cid, 0xab);
    assert_int_equal(d->parent_cid, CID_NO_PARENT);
    assert_string_equal(d->create_type, "Custom");
    assert_string_equal(d->encoding, "windows-1252");
    assert_false(d->native_snapshot);
    assert_false(d->encrypted);
    assert_int_equal(d->extent_count, 4);
    assert_string_equal(d->extents[0].name, "a \"b=c\".vmdk");
    assert_int_equal(d->extents[0].offset, 7);
    assert_true(d->extents[0].has_offset);
    assert_int_equal(d->extents[1].access, ACCESS_RDONLY);
    assert_int_equal(d->extents[1].type, EXTENT_SPARSE);
    assert_int_equal(d->extents[2].access, ACCESS_NONE);
    assert_null(d->extents[3].name);
    assert_int_equal(d->capacity, 114);
    assert_string_equal(descriptor_ddb_get(d, "adaptertype"), "ide");
    assert_string_equal(descriptor_ddb_get(d, "a"), "one\"two");
    assert_int_equal(d->repeated_keys, 2);
    assert_string_equal(descriptor_ddb_key(d, 0), "AdapterType");
    assert_string_equal(descriptor_ddb_key(d, 1), "a");
    assert_null(descriptor_ddb_key(d, 2));
    descriptor_free(d);
}

static void text_ends_at_the_first_nul(void **state)
{
    char text[4096] = HEAD FLAT_LINE;
    struct descriptor *d = NULL;

    (void)state;
    memcpy(text + strlen(text) + 1, "garbage\xff", 8);
    assert_int_equal(descriptor_parse(text, sizeof text, "t", &d, NULL), VIX_OK);
    assert_int_equal(d->capacity, 2048);
    assert_text(d, HEAD FLAT_LINE);
    descriptor_free(d);
}

static void changes_leave_other_lines_in_place(void **state)
{
    struct descriptor *d = parse_ok("# Disk DescriptorFile\nversion=1\n# mine\nCID=1\nparentCID=ffffffff\nodd=1 \n"
                                    "createType=\"vmfs\"\nRW 8 VMFS \"x-flat.vmdk\"\n#DDB\nddb.b = \"1\"\n"
                                    "# between\nddb.longContentID = \"00112233445566778899aabb00000001\"\n");

    (void)state;
    assert_int_equal(descriptor_set_cid(d, 0xCAFE, NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "B", "2", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "aa", "", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "comment", "c", NULL), VIX_OK);
    assert_int_equal(descriptor_ddb_set(d, "zz", "z", NULL), VIX_OK);
    assert_int_equal(descriptor_set_parent(d, "p.vmdk", 0x22, NULL), VIX_OK);
    assert_int_equal(descriptor_set_extent(d, 0, 16, "y-flat.vmdk", NULL), VIX_OK);
    assert_int_equal(d->cid, 0xCAFE);
    assert_int_equal(d->capacity, 16);
    assert_text(d, "# Disk DescriptorFile\nversion=1\n# mine\nCID=0000cafe\nparentCID=00000022\nodd=1 \n"
                   "createType=\"vmfs\"\nparentFileNameHint=\"p.vmdk\"\nRW 16 VMFS \"y-flat.vmdk\"\n#DDB\n"
                   "ddb.aa = \"\"\nddb.b = \"2\"\n# between\nddb.comment = \"c\"\n"
                   "ddb.longContentID = \"00112233445566778899aabb0000cafe\"\nddb.zz = \"z\"\n");
    descriptor_ddb_remove(d, "ZZ");
    descriptor_ddb_remove(d, "none");
    assert_null(descriptor_ddb_get(d, "zz"));
    assert_int_equal(descriptor_set_parent(d, NULL, CID_NO_PARENT, NULL), VIX_OK);
    assert_null(d->parent_hint);
    assert_int_equal(d->parent_cid, CID_NO_PARENT);
    descriptor_free(d);
}

static void database_is_added_where_there_is_none(void **state)
{
    struct descriptor *d = parse_ok(HEAD FLAT_LINE);

    (void)state;
    assert_int_equal(descriptor_ddb_set(d, "uuid", "1", NULL), VIX_OK);
    assert_text(d, HEAD FLAT_LINE "\n# The Disk Data Base \n#DDB\n\nddb.uuid = \"1\"\n");
    descriptor_free(d);
}

static void tracking_is_dropped_with_its_section(void **state)
{
    struct descriptor *d = parse_ok("version=3\nCID=1\ncreateType=\"vmfs\"\nRW 8 VMFS \"x\"\n\n# Change Tracking File\n"
                                    "changeTrackPath=\"x-ctk.vmdk\"\n\n# The Disk Data Base \n#DDB\n");

    (void)state;
    assert_string_equal(d->change_track_path, "x-ctk.vmdk");
    assert_int_equal(descriptor_drop_tracking(d, NULL), VIX_OK);
    assert_null(d->change_track_path);
    assert_int_equal(d->version, 1);
    assert_text(d, "version=1\nCID=1\ncreateType=\"vmfs\"\nRW 8 VMFS \"x\"\n\n# The Disk Data Base \n#DDB\n");
    descriptor_free(d);
}

static void encryption_is_seen(void **state)
{
    struct descriptor *d = parse_ok("version=2\nkeyID=\"x\"\n");

    (void)state;
    assert_true(d->encrypted);
    descriptor_free(d);
    d = parse_ok(HEAD "encryptionKeys=\"vmware:key/list/\"\n");
    assert_true(d->encrypted);
    descriptor_free(d);
    d = parse_ok(HEAD FLAT_LINE "ddb.iofilters = \"vmwarevmcrypt\"\n");
    assert_true(d->encrypted);
    descriptor_free(d);
    d = parse_ok(HEAD FLAT_LINE "ddb.iofilters = \"vmwarelwd\"\n");
    assert_false(d->encrypted);
    descriptor_free(d);
}

struct bad_case {
    const char *text;
    VixError code;
    const char *says; /* part of the sentence */
};

static void nonsense_is_refused_with_its_place(void **state)
{
    static const struct bad_case cases[] = {
        {"", VIX_E_DISK_INVALIDDISK, "no version="},
        {"\n# only comments\n", VIX_E_DISK_INVALIDDISK, "no version="},
        {"CID=1\nversion=1\n", VIX_E_DISK_INVALIDDISK, "line 1"},
        {"RW 1 ZERO\nversion=1\n", VIX_E_DISK_INVALIDDISK, "before version="},
        {"version=0\n", VIX_E_DISK_UNSUPPORTEDDISKVERSION, "allowed: 1 to 3"},
        {"version=4\n", VIX_E_DISK_UNSUPPORTEDDISKVERSION, "version is 4"},
        {"version=99999999999999999999999\n", VIX_E_DISK_INVAL, "line 1"},
        {"version=one\n", VIX_E_DISK_INVAL, "\"one\""},
        {"version=\n", VIX_E_DISK_INVAL, "line 1"},
        {"version=1\nCID=123456789\n", VIX_E_DISK_INVAL, "line 2: CID"},
        {"version=1\nCID=xyz\n", VIX_E_DISK_INVAL, "xyz"},
        {"version=1\nCID=\n", VIX_E_DISK_INVAL, "hexadecimal"},
        {"version=1\nparentCID=-1\n", VIX_E_DISK_INVAL, "parentCID"},
        {"version=1\ncreateType=\"vmfs\"\n", VIX_E_DISK_INVAL, "no CID"},
        {"version=1\nCID=1\n", VIX_E_DISK_INVAL, "no createType"},
        {"version=1\ncreateType=\"vmfs\n", VIX_E_DISK_INVAL, "quotes"},
        {"version=1\nwhat is this\n", VIX_E_DISK_INVAL, "line 2"},
        {"version=1\nCID=1\rCID=2\n", VIX_E_DISK_INVAL, "CR"},
        {"version=1\r", VIX_E_DISK_INVALIDDISK, "CR"},
        {HEAD "RW\n", VIX_E_DISK_INVAL, "size"},
        {HEAD "RW -1 FLAT \"a\" 0\n", VIX_E_DISK_INVAL, "\"-1\""},
        {HEAD "RW 0 FLAT \"a\" 0\n", VIX_E_DISK_INVAL, "only for ZERO"},
        {HEAD "RW 0x10 FLAT \"a\" 0\n", VIX_E_DISK_INVAL, "0x10"},
        {HEAD "RW 18446744073709551615 FLAT \"a\" 0\n", VIX_E_DISK_INVAL, "2^54"},
        {HEAD "RW 18446744073709551617 FLAT \"a\" 0\n", VIX_E_DISK_INVAL, "2^54"},
        {HEAD "RW 18014398509481984 ZERO\nRW 1 ZERO\n", VIX_E_DISK_INVAL, "add up"},
        {HEAD "RW 8\n", VIX_E_DISK_INVAL, "type"},
        {HEAD "RW 8 VMFSSPARSEX \"a\"\n", VIX_E_DISK_INVAL, "VMFSSPARSEX"},
        {HEAD "RW 8 FLAT\n", VIX_E_DISK_INVAL, "a name in quotes"},
        {HEAD "RW 8 FLAT a-flat.vmdk 0\n", VIX_E_DISK_INVAL, "a name in quotes"},
        {HEAD "RW 8 FLAT \"\" 0\n", VIX_E_DISK_INVAL, "a name in quotes"},
        {HEAD "RW 8 FLAT \"a 0\n", VIX_E_DISK_INVAL, "a name in quotes"},
        {HEAD "RW 8 FLAT \"a\" zero\n", VIX_E_DISK_INVAL, "offset"},
        {HEAD "RW 8 FLAT \"a\" 18446744073709551615\n", VIX_E_DISK_INVAL, "offset"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct descriptor *d = NULL;
        struct err err;
        err_init(&err);
        VixError code = descriptor_parse(cases[i].text, strlen(cases[i].text), "t.vmdk", &d, &err);
        if (code != cases[i].code || strstr(err.text, cases[i].says) == NULL) {
            print_error("case %zu: code %d, \"%s\"\n", i, (int)code, err.text);
        }
        assert_int_equal(code, cases[i].code);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_non_null(strstr(err.text, "t.vmdk"));
        assert_null(d);
    }
}

/** A text of head and count copies of line; freed by the caller. */
static char *repeated(const char *head, const char *line, size_t count)
{
    size_t head_len = strlen(head), line_len = strlen(line);
    char *text = malloc(head_len + line_len * count + 1);

    assert_non_null(text);
    memcpy(text, head, head_len);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + head_len + i * line_len, line, line_len);
    }
    text[head_len + line_len * count] = '\0';
    return text;
}

static void limits_hold(void **state)
{
    static const struct {
        const char *line;
        size_t count;
        VixError code;
    } cases[] = {
        {"x", DESCRIPTOR_MAX_LINE - 1, VIX_E_DISK_INVAL}, /* no '=' in it */
        {"#", DESCRIPTOR_MAX_LINE, VIX_OK},
        {"#", DESCRIPTOR_MAX_LINE + 1, VIX_E_DISK_INVAL},
        {"RW 1 ZERO\n", DESCRIPTOR_MAX_EXTENTS, VIX_OK},
        {"RW 1 ZERO\n", DESCRIPTOR_MAX_EXTENTS + 1, VIX_E_DISK_INVAL},
        {"ddb.a=1\n", 4096, VIX_OK},
        {"ddb.a=1\n", 4097, VIX_E_DISK_INVAL},
        {"\n", 100000, VIX_E_DISK_INVAL},
        {"#########\n", 110000, VIX_E_DISK_INVAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct descriptor *d = NULL;
        char *text = repeated(HEAD, cases[i].line, cases[i].count);
        assert_int_equal(descriptor_parse(text, strlen(text), "t", &d, NULL), cases[i].code);
        descriptor_free(d);
        free(text);
    }
}

static void what_the_text_cannot_hold_is_refused(void **state)
{
    struct descriptor *d = parse_ok(HEAD FLAT_LINE);
    char *long_value = repeated("", "v", 4096);

    (void)state;
    assert_int_equal(descriptor_ddb_set(d, "k", "a\"b", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_ddb_set(d, "k", "a\nb", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_ddb_set(d, "k", long_value, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_ddb_set(d, "", "v", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_ddb_set(d, "a b", "v", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_ddb_set(d, "a=b", "v", NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_set_parent(d, "a\"b", 1, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_add_extent(d, ACCESS_RW, 1, EXTENT_FLAT, "a\r", true, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_add_extent(d, ACCESS_RW, 0, EXTENT_FLAT, "a", true, NULL), VIX_E_INVALID_ARG);
    assert_int_equal(descriptor_set_extent(d, 0, 8, "", NULL), VIX_E_INVALID_ARG);
    assert_text(d, HEAD FLAT_LINE);
    free(long_value);
    descriptor_free(d);
}

static void names_go_through_the_encoding(void **state)
{
    static const struct {
        const char *encoding;
        const char *raw, *utf8;
    } cases[] = {
        {"UTF-8", "\xc3\xa9.vmdk", "\xc3\xa9.vmdk"},         {"windows-1252", "caf\xe9.vmdk", "caf\xc3\xa9.vmdk"},
        {"GBK", "\xd6\xd0.vmdk", "\xe4\xb8\xad.vmdk"},       {"Big5", "\xa4\xa4.vmdk", "\xe4\xb8\xad.vmdk"},
        {"Shift_JIS", "\x92\x86.vmdk", "\xe4\xb8\xad.vmdk"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *name = NULL, *back = NULL;
        (void)snprintf(text, sizeof text, "version=1\nencoding=\"%s\"\nCID=1\ncreateType=\"vmfs\"\n",
                       cases[i].encoding);
        struct descriptor *d = parse_ok(text);
        assert_int_equal(descriptor_name_to_utf8(d, cases[i].raw, &name, NULL), VIX_OK);
        assert_string_equal(name, cases[i].utf8);
        assert_int_equal(descriptor_name_from_utf8(d, name, &back, NULL), VIX_OK);
        assert_string_equal(back, cases[i].raw);
        free(name);
        free(back);
        descriptor_free(d);
    }
    char *name = NULL;
    struct descriptor *d = parse_ok("version=1\nencoding=\"klingon\"\nCID=1\ncreateType=\"vmfs\"\n");
    assert_int_equal(descriptor_name_to_utf8(d, "a", &name, NULL), VIX_E_DISK_ENCODING);
    descriptor_free(d);
    d = parse_ok("version=1\nCID=1\ncreateType=\"vmfs\"\nddb.encoding=\"GBK\"\n");
    assert_int_equal(descriptor_name_to_utf8(d, "\xd6", &name, NULL), VIX_E_DISK_ENCODING);
    assert_null(name);
    descriptor_free(d);
}

static void content_id_is_found_in_the_text(void **state)
{
    static const char text[] = "version=1\nparentCID=ffffffff\nCID = fffffffe\n"
                               "ddb.longContentID = \"00112233445566778899aabbfffffffe\"\n";
    size_t off = 0, digits = 0, long_off = 0;

    (void)state;
    assert_true(descriptor_find_cid(text, strlen(text), &off, &digits, &long_off));
    assert_int_equal(digits, 8);
    assert_memory_equal(text + off, "fffffffe\nddb", 12);
    assert_memory_equal(text + long_off, "fffffffe\"\n", 10);
    assert_true(descriptor_find_cid("version=1\nCID=12\n", 17, &off, &digits, &long_off));
    assert_int_equal(digits, 2);
    assert_int_equal(long_off, SIZE_MAX);
    assert_false(descriptor_find_cid("version=1\nparentCID=12\n", 22, &off, &digits, &long_off));
}

static void descriptors_are_recognised(void **state)
{
    (void)state;
    assert_true(descriptor_looks_like("version=1\n", 10));
    assert_true(descriptor_looks_like("\n # x\n\tVersion = 1", 18));
    assert_false(descriptor_looks_like("version=1\n", 5));
    assert_false(descriptor_looks_like("versions=1\n", 11));
    assert_false(descriptor_looks_like("CID=1\nversion=1\n", 16));
    assert_false(descriptor_looks_like("", 0));
    assert_false(descriptor_looks_like("\0version=1", 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_descriptor_has_the_canonical_text),
        cmocka_unit_test(a_child_names_its_parent_before_the_extents),
        cmocka_unit_test(tolerances_of_real_files),
        cmocka_unit_test(text_ends_at_the_first_nul),
        cmocka_unit_test(changes_leave_other_lines_in_place),
        cmocka_unit_test(database_is_added_where_there_is_none),
        cmocka_unit_test(tracking_is_dropped_with_its_section),
        cmocka_unit_test(encryption_is_seen),
        cmocka_unit_test(nonsense_is_refused_with_its_place),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(what_the_text_cannot_hold_is_refused),
        cmocka_unit_test(names_go_through_the_encoding),
        cmocka_unit_test(content_id_is_found_in_the_text),
        cmocka_unit_test(descriptors_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
