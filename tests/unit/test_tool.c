/* SPDX-License-Identifier: BSD-3-Clause */
/* The command's pure parts: sizes as people write them, names of types, classes of times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/latency.h"
#include "tool/markup.h"
#include "tool/text.h"

static void sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"512", 512},
        {"1s", 512},
        {"2048s", 1048576},
        {"1k", 1024},
        {"1KiB", 1024},
        {"64K", 65536},
        {"1.5M", 1572864},
        {"0.001953125K", 2},
        {"3G", UINT64_C(3221225472)},
        {"1.25T", UINT64_C(1374389534720)},
        {"16383P", UINT64_C(16383) << 50},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes = 1;
        assert_null(parse_bytes(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    uint64_t untouched = 7;
    assert_non_null(parse_bytes("16383.999999999999999P", &untouched));
    assert_int_equal(untouched, 7);
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "K",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1x",
        "1KB",
        "1Ki",
        "1KiBx",
        "1ss",
        "1S",
        "1.5",
        "1.s",
        "1.5s",
        "1..5",
        "1.",
        "0.1K",
        "1,5K",
        "0x10",
        "1e3",
        "16384P",
        "1.K",
        ".5K",
        "nan",
        "inf",
        "1E",
        "1.1.1",
        "٣",
        "1\n",
        "1T1",
        "36028797018963968s",
        "18446744073709551616",
        "99999999999999999999999P",
        "1.0000000000000000000001K",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t bytes = 7;
        assert_non_null(parse_bytes(bad[i], &bytes));
        assert_int_equal(bytes, 7);
    }
}

static void numbers_keep_their_limits(void **state)
{
    (void)state;
    uint32_t value = 0;
    assert_true(parse_number("12", 1, 12, &value));
    assert_int_equal(value, 12);
    assert_false(parse_number("0", 1, 12, &value));
    assert_false(parse_number("13", 1, 12, &value));
    assert_false(parse_number("4294967308", 1, 12, &value));
    assert_false(parse_number("1x", 1, 12, &value));
    assert_false(parse_number("", 0, 12, &value));
}

static void every_spelling_is_a_type(void **state)
{
    (void)state;
    const char *others;
    const char *name;
    size_t count = 0;
    for (; (name = type_list(count, &others)) != NULL; count++) {
        VixDiskLibDiskType type = VIXDISKLIB_DISK_UNKNOWN;
        VixDiskLibDiskType same = VIXDISKLIB_DISK_UNKNOWN;
        assert_true(parse_type(name, &type));
        assert_string_equal(type_name(type), name);
        char *words = strdup(others);
        for (char *save = NULL, *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
            assert_true(parse_type(word, &same));
            assert_int_equal(same, type);
        }
        free(words);
    }
    assert_int_equal(count, 8);
    VixDiskLibDiskType type;
    assert_false(parse_type("", &type));
    assert_false(parse_type("monolithic", &type));
    assert_false(parse_type("monolithic-sparse sparse", &type));
}

static void bytes_are_shown_shortly(void **state)
{
    (void)state;
    char text[HUMAN_BYTES_MAX];
    assert_string_equal(human_bytes(0, text), "0 bytes");
    assert_string_equal(human_bytes(999, text), "999 bytes");
    assert_string_equal(human_bytes(1024, text), "1 KiB");
    assert_string_equal(human_bytes(1536, text), "1.5 KiB");
    assert_string_equal(human_bytes(UINT64_C(1) << 40, text), "1 TiB");
    assert_string_equal(human_bytes(UINT64_MAX, text), "16 EiB");
}

static void classes_are_narrow_and_rise(void **state)
{
    (void)state;
    for (uint64_t ns = 1; ns < UINT64_C(1) << 50; ns += ns / 7 + 1) {
        unsigned class = latency_class(ns);
        uint64_t top = latency_class_ns(class);
        assert_true(class < LATENCY_CLASSES);
        assert_true(top >= ns);
        assert_true(top - ns <= ns / LATENCY_STEPS);
        assert_int_equal(latency_class(top), class);
        assert_int_equal(latency_class(top + 1), class + 1);
    }
}

static void percentiles_are_found(void **state)
{
    (void)state;
    struct latency *latency = calloc(1, sizeof *latency);
    struct latency *sum = calloc(1, sizeof *sum);
    for (uint64_t i = 1; i <= 1000; i++) {
        latency_add(latency, i * 1000);
    }
    latency_merge(sum, latency);
    latency_merge(sum, latency);
    assert_int_equal(sum->count, 2000);
    assert_int_equal(sum->max_ns, 1000000);
    assert_in_range(latency_percentile(sum, 50), 500000, 516000);
    assert_in_range(latency_percentile(sum, 99), 990000, 1000000);
    assert_int_equal(latency_percentile(sum, 100), 1000000);
    free(latency);
    free(sum);
}

/** What a function of markup.h writes. @columns 0: markup_text. Freed by the caller. */
static char *marked_up(const char *text, unsigned columns)
{
    char *bytes = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&bytes, &len);
    assert_non_null(to);
    if (columns == 0) {
        markup_text(to, text);
    } else {
        markup_short(to, text, columns);
    }
    fclose(to);
    return bytes;
}

static void text_is_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned columns;
        const char *want;
    } cases[] = {
        {"", 0, ""},
        {"a.vmdk", 0, "a.vmdk"},
        {"<b>&amp;'\"", 0, "&lt;b&gt;&amp;amp;&#39;&quot;"},
        {"gr\303\274n \346\274\242 \360\237\222\276", 0, "gr\303\274n \346\274\242 \360\237\222\276"},
        {"a\033[1m\nb\177", 0, "a\357\277\275[1m\357\277\275b\357\277\275"},
        {"\300\200", 0, "\357\277\275"},               /* a NUL in two bytes */
        {"\340\200\200", 0, "\357\277\275"},           /* and in three */
        {"\355\240\200", 0, "\357\277\275"},           /* half of a pair */
        {"\364\220\200\200", 0, "\357\277\275"},       /* beyond the last character */
        {"\377x\200", 0, "\357\277\275x\357\277\275"}, /* no beginning of one */
        {"\303", 0, "\357\277\275"},                   /* cut short */
        {"\342\202", 0, "\357\277\275"},
        {"\342(", 0, "\357\277\275("},
        {"a\342\200\256b", 0, "a\357\277\275b"}, /* turns the writing round */
        {"\357\277\276", 0, "\357\277\275"},     /* no character of XML */
        {"0123456789", 10, "0123456789"},
        {"0123456789a", 10, "0123\342\200\2466789a"},
        {"<<<<<<<<<<<", 5, "&lt;&lt;\342\200\246&lt;&lt;"},
        {"\346\274\242\346\274\242\346\274\242\346\274\242", 5, "\346\274\242\342\200\246\346\274\242"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = marked_up(cases[i].text, cases[i].columns);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(numbers_keep_their_limits),
        cmocka_unit_test(every_spelling_is_a_type),
        cmocka_unit_test(bytes_are_shown_shortly),
        cmocka_unit_test(classes_are_narrow_and_rise),
        cmocka_unit_test(percentiles_are_found),
        cmocka_unit_test(text_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
