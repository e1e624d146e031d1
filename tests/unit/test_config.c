/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file and the text helpers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/log.h"
#include "base/text.h"

static char path[64];
static unsigned news_count;
static char news_text[512];

static void keep_news(const char *fmt, va_list args)
{
    news_count++;
    (void)vsnprintf(news_text, sizeof news_text, fmt, args);
}

static int make_path(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/vixdisk-config-%d", (int)getpid());
    log_set_sinks(keep_news, NULL);
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    log_set_sinks(NULL, NULL);
    config_clear();
    (void)unlink(path);
    return 0;
}

static void write_file(const char *text, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static unsigned load(const char *text)
{
    struct err err;
    unsigned skipped = 99;

    err_init(&err);
    write_file(text, strlen(text));
    news_count = 0;
    assert_int_equal(config_load(path, &skipped, &err), VIX_OK);
    return skipped;
}

static void reads_names_and_values(void **state)
{
    (void)state;
    assert_int_equal(load("\xEF\xBB\xBF"
                          "tmpDirectory=/var/tmp\r\n"
                          "  a.B \t=  \"quoted value # = \"  # comment\r\n"
                          "# x=1\n"
                          "\n"
                          "c = plain value # comment\n"
                          "d=with#inside\n"
                          "e=\n"
                          "f=\"\"\n"
                          "last=1"),
                     0);
    assert_string_equal(config_text("tmpDirectory"), "/var/tmp");
    assert_string_equal(config_text("A.b"), "quoted value # = ");
    assert_string_equal(config_text("C"), "plain value");
    assert_string_equal(config_text("d"), "with#inside");
    assert_string_equal(config_text("e"), "");
    assert_string_equal(config_text("f"), "");
    assert_string_equal(config_text("LAST"), "1");
    assert_null(config_text("x"));
    assert_null(config_text(""));
    assert_int_equal(news_count, 0);
}

static void survives_junk_and_says_so_once(void **state)
{
    static const char text[] = "\x7f\x45LF\0\0\x01=\xff\n=value\nno equals sign\nname=\"never closed\ngood=yes\n \"\n";
    struct err err;
    unsigned skipped = 0;

    (void)state;
    err_init(&err);
    write_file(text, sizeof text - 1);
    news_count = 0;
    assert_int_equal(config_load(path, &skipped, &err), VIX_OK);
    assert_int_equal(skipped, 5);
    assert_string_equal(config_text("good"), "yes");
    assert_null(config_text("name"));
    assert_int_equal(news_count, 1);
    assert_non_null(strstr(news_text, "5 lines"));
    assert_non_null(strstr(news_text, "line 1\n"));
}

static void later_line_wins(void **state)
{
    struct err err;

    (void)state;
    err_init(&err);
    assert_int_equal(load("Key=1\nkey=2\nother=x\nKEY=3\n"), 0);
    assert_string_equal(config_text("key"), "3");
    assert_int_equal(config_set("kEy", "4", &err), VIX_OK);
    assert_string_equal(config_text("key"), "4");
    assert_int_equal(config_set("abc", "first", &err), VIX_OK);
    assert_int_equal(config_set("zzz", "last", &err), VIX_OK);
    assert_string_equal(config_text("ABC"), "first");
    assert_string_equal(config_text("other"), "x");
    assert_string_equal(config_text("zzz"), "last");
    assert_int_equal(config_set("", "x", &err), VIX_E_INVALID_ARG);
}

static void numbers_and_booleans(void **state)
{
    (void)state;
    (void)load("n = 7\nbig=18446744073709551615\nover=18446744073709551616\nneg=-1\nhex=0x10\nword=many\n"
               "t1=TRUE\nt2=yes\nt3=1\nt4=On\nf1=False\nf2=NO\nf3=0\nf4=off\nodd=maybe\n");
    assert_int_equal(config_number("n", 3, 0, 10), 7);
    assert_int_equal(config_number("n", 3, 8, 10), 3);
    assert_int_equal(config_number("n", 3, 0, 6), 3);
    assert_true(config_number("big", 3, 0, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(config_number("over", 3, 0, UINT64_MAX), 3);
    assert_int_equal(config_number("neg", 3, 0, UINT64_MAX), 3);
    assert_int_equal(config_number("hex", 3, 0, UINT64_MAX), 3);
    assert_int_equal(config_number("word", 3, 0, UINT64_MAX), 3);
    assert_int_equal(config_number("absent", 3, 0, UINT64_MAX), 3);
    for (unsigned i = 1; i <= 4; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "t%u", i);
        assert_true(config_bool(name, false));
        (void)snprintf(name, sizeof name, "f%u", i);
        assert_false(config_bool(name, true));
    }
    assert_true(config_bool("odd", true));
    assert_false(config_bool("odd", false));
    assert_true(config_bool("absent", true));
}

static void failure_keeps_what_was(void **state)
{
    struct err err;
    unsigned skipped = 42;
    char *big = calloc(1, CONFIG_FILE_MAX + 1);

    (void)state;
    err_init(&err);
    assert_non_null(big);
    (void)load("kept=1\n");
    assert_int_equal(config_load("/nowhere/at/all", &skipped, &err), VIX_E_FILE_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_int_equal(config_load("/tmp", &skipped, &err), VIX_E_INCORRECT_FILE_TYPE);
    memset(big, '\n', CONFIG_FILE_MAX + 1);
    write_file(big, CONFIG_FILE_MAX + 1);
    assert_int_equal(config_load(path, &skipped, &err), VIX_E_INVALID_ARG);
    assert_int_equal(skipped, 42);
    assert_string_equal(config_text("kept"), "1");
    write_file(big, CONFIG_FILE_MAX);
    assert_int_equal(config_load(path, &skipped, &err), VIX_OK);
    assert_null(config_text("kept"));
    free(big);
}

static void pipe_is_refused_at_once(void **state)
{
    struct err err;
    unsigned skipped;

    (void)state;
    err_init(&err);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(config_load(path, &skipped, &err), VIX_E_INCORRECT_FILE_TYPE);
    (void)unlink(path);
}

static void null_path_is_empty(void **state)
{
    struct err err;
    unsigned skipped = 9;

    (void)state;
    err_init(&err);
    (void)load("kept=1\n");
    assert_int_equal(config_load(NULL, &skipped, &err), VIX_OK);
    assert_int_equal(skipped, 0);
    assert_null(config_text("kept"));
}

static void many_lines_are_read_quickly(void **state)
{
    size_t len = 0;
    char *text = malloc(CONFIG_FILE_MAX);

    (void)state;
    assert_non_null(text);
    for (unsigned i = 0; len < CONFIG_FILE_MAX - 32; i++) {
        len += (size_t)sprintf(text + len, "n%u=%u\n", (i * 7919) % 200003, i); /* a prime: no name twice */
    }
    assert_int_equal(load(text), 0);
    assert_string_equal(config_text("n7919"), "1");
    assert_string_equal(config_text("N15838"), "2");
    free(text);
}

static void text_helpers(void **state)
{
    size_t len;
    uint64_t value = 5;

    (void)state;
    assert_true(text_equal_nocase("VixDiskLib.nfcAio", "vixdisklib.NFCAIO"));
    assert_true(text_compare_nocase("a", "B") < 0);
    assert_true(text_compare_nocase("ab", "a") > 0);
    assert_false(text_equal_nocase("[", "{")); /* one bit apart, no letters */
    (void)text_trim(" \t", 2, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(text_trim(" ab ", 4, &len), "ab", 2);
    assert_int_equal(len, 2);
    assert_false(text_to_u64("", &value));
    assert_false(text_to_u64("1 2", &value));
    assert_int_equal(value, 5);
    assert_true(text_to_u64(" 12\n", &value));
    assert_int_equal(value, 12);
    assert_true(text_ends_with("a.lck", ".lck"));
    assert_false(text_ends_with("lck", ".lck"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_names_and_values), cmocka_unit_test(survives_junk_and_says_so_once),
        cmocka_unit_test(later_line_wins),        cmocka_unit_test(numbers_and_booleans),
        cmocka_unit_test(failure_keeps_what_was), cmocka_unit_test(pipe_is_refused_at_once),
        cmocka_unit_test(null_path_is_empty),     cmocka_unit_test(many_lines_are_read_quickly),
        cmocka_unit_test(text_helpers),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
