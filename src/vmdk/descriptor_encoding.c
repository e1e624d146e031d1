/* SPDX-License-Identifier: BSD-3-Clause */
/* descriptor_encoding.c - file names between a descriptor's encoding and UTF-8. Pure but for iconv's tables; any
 * thread. */
#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "vmdk/descriptor.h"

#define NAME_GROWTH 4u /* bytes of UTF-8 for a byte of any of the encodings, and the other way round, at most */

struct encoding_row {
    const char *word;
    const char *iconv_name;
};

/* The words seen in descriptors, and what stands for their Windows code pages in iconv. */
static const struct encoding_row encodings[] = {
    {"windows-1252", "WINDOWS-1252"},
    {"GBK", "CP936"},
    {"Big5", "CP950"},
    {"Shift_JIS", "CP932"},
};

static const char *encoding_of(const struct descriptor *d)
{
    const char *word = d->encoding != NULL ? d->encoding : descriptor_ddb_get(d, "encoding");
    return word != NULL ? word : "UTF-8";
}

static const char *iconv_name_of(const char *word)
{
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
        if (text_equal_nocase(encodings[i].word, word)) {
            return encodings[i].iconv_name;
        }
    }
    return NULL;
}

static VixError run_iconv(iconv_t cd, const char *name, const char *word, char **ret, struct err *err)
{
    size_t in_left = strlen(name);
    size_t room = in_left * NAME_GROWTH + 1;
    CLEANUP_FREE char *out = alloc_array(room, 1, err);

    if (out == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    char *in_pos = (char *)(uintptr_t)name; /* iconv does not write there */
    char *out_pos = out;
    size_t out_left = room - 1;
    if (iconv(cd, &in_pos, &in_left, &out_pos, &out_left) == (size_t)-1 ||
        iconv(cd, NULL, NULL, &out_pos, &out_left) == (size_t)-1) {
        return err_set(err, VIX_E_DISK_ENCODING,
                       "the file name \"%.200s\" is not valid in the descriptor's encoding %s", name, word);
    }
    *ret = TAKE_PTR(out);
    return VIX_OK;
}

static VixError convert(const struct descriptor *d, const char *name, bool to_utf8, char **ret, struct err *err)
{
    const char *word = encoding_of(d);
    const char *other = iconv_name_of(word);

    if (text_equal_nocase(word, "UTF-8") || text_equal_nocase(word, "UTF8")) {
        *ret = alloc_text(name, err);
        return *ret != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    iconv_t cd = other == NULL ? (iconv_t)-1 : to_utf8 ? iconv_open("UTF-8", other) : iconv_open(other, "UTF-8");
    if (cd == (iconv_t)-1) {
        return err_set(err, VIX_E_DISK_ENCODING,
                       "the descriptor's encoding is \"%.40s\", known here: UTF-8 windows-1252 GBK Big5 Shift_JIS",
                       word);
    }
    VixError code = run_iconv(cd, name, word, ret, err);
    (void)iconv_close(cd);
    return code;
}

VixError descriptor_name_to_utf8(const struct descriptor *d, const char *name, char **ret_utf8, struct err *err)
{
    return convert(d, name, true, ret_utf8, err);
}

VixError descriptor_name_from_utf8(const struct descriptor *d, const char *utf8, char **ret_name, struct err *err)
{
    return convert(d, utf8, false, ret_name, err);
}
