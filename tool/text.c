/* SPDX-License-Identifier: BSD-3-Clause */
/* text.c - sizes, names of types and adapters. */
#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS_MAX 15

struct type_word {
    VixDiskLibDiskType type;
    const char *name;
    const char *others; /* further spellings, separated by blanks */
};

static const struct type_word types[] = {
    {VIXDISKLIB_DISK_MONOLITHIC_SPARSE, "monolithicSparse", "monolithic-sparse sparse"},
    {VIXDISKLIB_DISK_MONOLITHIC_FLAT, "monolithicFlat", "monolithic-flat flat"},
    {VIXDISKLIB_DISK_SPLIT_SPARSE, "twoGbMaxExtentSparse", "2gbMaxExtentSparse 2gbsparse split-sparse"},
    {VIXDISKLIB_DISK_SPLIT_FLAT, "twoGbMaxExtentFlat", "2gbMaxExtentFlat 2gbflat split-flat"},
    {VIXDISKLIB_DISK_STREAM_OPTIMIZED, "streamOptimized", "stream-optimized stream"},
    {VIXDISKLIB_DISK_VMFS_FLAT, "vmfs", "vmfs-flat vmfsFlat preallocated thick"},
    {VIXDISKLIB_DISK_VMFS_THIN, "vmfsThin", "vmfs-thin thin"},
    {VIXDISKLIB_DISK_VMFS_SPARSE, "vmfsSparse", "vmfs-sparse"},
};

struct adapter_word {
    VixDiskLibAdapterType adapter;
    const char *name;
    const char *others;
};

static const struct adapter_word adapters[] = {
    {VIXDISKLIB_ADAPTER_IDE, "ide", "IDE"},
    {VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC, "buslogic", "scsi-buslogic"},
    {VIXDISKLIB_ADAPTER_SCSI_LSILOGIC, "lsilogic", "scsi-lsilogic scsi lsi"},
};

/** Whether a list of words separated by blanks holds one, in any case. */
static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);
    const char *at = list;
    while (len > 0 && *at != '\0') {
        size_t item = strcspn(at, " ");
        if (item == len && strncasecmp(at, word, len) == 0) {
            return true;
        }
        at += item;
        at += strspn(at, " ");
    }
    return false;
}

bool parse_type(const char *text, VixDiskLibDiskType *ret_type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(text, types[i].name) == 0 || list_has(types[i].others, text)) {
            *ret_type = types[i].type;
            return true;
        }
    }
    return false;
}

const char *type_name(VixDiskLibDiskType type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].type == type) {
            return types[i].name;
        }
    }
    return "unknown";
}

const char *type_list(size_t index, const char **ret_others)
{
    if (index >= sizeof types / sizeof types[0]) {
        return NULL;
    }
    *ret_others = types[index].others;
    return types[index].name;
}

bool parse_adapter(const char *text, VixDiskLibAdapterType *ret_adapter)
{
    for (size_t i = 0; i < sizeof adapters / sizeof adapters[0]; i++) {
        if (strcasecmp(text, adapters[i].name) == 0 || list_has(adapters[i].others, text)) {
            *ret_adapter = adapters[i].adapter;
            return true;
        }
    }
    return false;
}

const char *adapter_name(VixDiskLibAdapterType adapter)
{
    for (size_t i = 0; i < sizeof adapters / sizeof adapters[0]; i++) {
        if (adapters[i].adapter == adapter) {
            return adapters[i].name;
        }
    }
    return "unknown";
}

/** The factor of a suffix; 0 if it is none. @ret_sectors whether it is that of sectors. */
static uint64_t suffix_factor(const char *suffix)
{
    static const char letters[] = "KMGTP";
    if (strcmp(suffix, "") == 0) {
        return 1;
    }
    if (strcmp(suffix, "s") == 0) {
        return VIXDISKLIB_SECTOR_SIZE;
    }
    const char *at = strchr(letters, toupper((unsigned char)suffix[0]));
    if (at == NULL || (suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0)) {
        return 0;
    }
    return UINT64_C(1) << (10 * (at - letters + 1));
}

/** Reads digits into a number; returns how many there were, or -1 if it does not fit. */
static int read_digits(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    int count = 0;
    while (isdigit((unsigned char)text[count])) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[count] - '0'), &value)) {
            return -1;
        }
        count++;
    }
    *ret_value = value;
    return count;
}

/** The bytes of a fraction of a unit: "5" of 1024 is 512; NULL, or what is wrong. */
static const char *fraction_bytes(uint64_t digits, int count, uint64_t factor, uint64_t *ret_bytes)
{
    uint64_t scale = 1;
    for (int i = 0; i < count; i++) {
        scale *= 10;
    }
    unsigned __int128 product = (unsigned __int128)digits * factor;
    if (product % scale != 0) {
        return "does not come out at whole bytes";
    }
    *ret_bytes = (uint64_t)(product / scale);
    return NULL;
}

const char *parse_bytes(const char *text, uint64_t *ret_bytes)
{
    uint64_t whole = 0;
    uint64_t digits = 0;
    uint64_t fraction = 0;
    int count = 0;
    int len = read_digits(text, &whole);
    if (len < 0) {
        return "is too large";
    }
    if (len == 0) {
        return "is not a number of bytes (such as 1048576, 64K, 1.5G or 2048s)";
    }
    const char *suffix = text + len;
    if (*suffix == '.') {
        count = read_digits(suffix + 1, &digits);
        if (count <= 0 || count > FRACTION_DIGITS_MAX) {
            return "has a fraction that cannot be read";
        }
        suffix += count + 1;
    }
    uint64_t factor = suffix_factor(suffix);
    if (factor == 0) {
        return "has an unknown suffix (allowed: K M G T P, each 1024 times the one before, and s for sectors of 512 "
               "bytes)";
    }
    if (count > 0 && factor <= VIXDISKLIB_SECTOR_SIZE) {
        return "has a fraction, which only K M G T P can have";
    }
    const char *wrong = fraction_bytes(digits, count, factor, &fraction);
    if (wrong != NULL) {
        return wrong;
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(whole, factor, &bytes) || __builtin_add_overflow(bytes, fraction, &bytes)) {
        return "is too large";
    }
    *ret_bytes = bytes;
    return NULL;
}

bool parse_number(const char *text, uint32_t low, uint32_t high, uint32_t *ret_value)
{
    uint64_t value;
    int len = read_digits(text, &value);
    if (len <= 0 || text[len] != '\0' || value < low || value > high) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

const char *human_bytes(uint64_t bytes, char text[HUMAN_BYTES_MAX])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(text, HUMAN_BYTES_MAX, "%.3g %s", value, units[unit]);
    return text;
}
