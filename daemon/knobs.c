/* SPDX-License-Identifier: BSD-3-Clause */
/* The knobs of tests by name. */
#include "daemon/knobs.h"

#include <stddef.h>
#include <string.h>

#include "base/text.h"

#define NAMES                                                                                                          \
    "no-sha256-word, no-nfcssl-word, no-extension-word, no-ssl-word, no-version, reverse-fragments, "                  \
    "random-fragments, shuffle-replies, plain-replies; with =N: version, delay-ms, error-at, error-code, "             \
    "no-memory-above, cut-at"

static const struct knob {
    const char *name;
    bool is_number;
    size_t offset;
} knobs_table[] = {
    {"no-sha256-word", false, offsetof(struct nfc_test_knobs, no_sha256_word)},
    {"no-nfcssl-word", false, offsetof(struct nfc_test_knobs, no_nfcssl_word)},
    {"no-extension-word", false, offsetof(struct nfc_test_knobs, no_extension_word)},
    {"no-ssl-word", false, offsetof(struct nfc_test_knobs, no_ssl_word)},
    {"no-version", false, offsetof(struct nfc_test_knobs, no_version)},
    {"reverse-fragments", false, offsetof(struct nfc_test_knobs, reverse_fragments)},
    {"random-fragments", false, offsetof(struct nfc_test_knobs, random_fragments)},
    {"shuffle-replies", false, offsetof(struct nfc_test_knobs, shuffle_replies)},
    {"plain-replies", false, offsetof(struct nfc_test_knobs, plain_replies)},
    {"version", true, offsetof(struct nfc_test_knobs, version)},
    {"delay-ms", true, offsetof(struct nfc_test_knobs, delay_ms)},
    {"error-at", true, offsetof(struct nfc_test_knobs, error_at)},
    {"error-code", true, offsetof(struct nfc_test_knobs, error_code)},
    {"no-memory-above", true, offsetof(struct nfc_test_knobs, no_memory_above)},
    {"cut-at", true, offsetof(struct nfc_test_knobs, cut_at)},
};

const char *knobs_list(void)
{
    return NAMES;
}

static bool set_one(struct nfc_test_knobs *knobs, const struct knob *knob, const char *value)
{
    char *at = (char *)knobs + knob->offset;
    uint64_t number = 0;

    if (!knob->is_number) {
        *(bool *)(void *)at = true;
        return value == NULL;
    }
    if (value == NULL || !text_to_u64(value, &number) || number > UINT32_MAX) {
        return false;
    }
    *(uint32_t *)(void *)at = (uint32_t)number; /* unsigned has as many bits */
    return true;
}

VixError knobs_set(struct nfc_test_knobs *knobs, const char *text, struct err *err)
{
    size_t len = strcspn(text, "=");

    _Static_assert(sizeof(unsigned) == sizeof(uint32_t), "all numbers are of one size");
    for (size_t i = 0; i < sizeof knobs_table / sizeof knobs_table[0]; i++) {
        const struct knob *knob = &knobs_table[i];
        if (strlen(knob->name) == len && memcmp(knob->name, text, len) == 0 &&
            set_one(knobs, knob, text[len] == '=' ? text + len + 1 : NULL)) {
            return VIX_OK;
        }
    }
    return err_set(err, VIX_E_INVALID_ARG, "--test-knob %.60s, allowed: " NAMES, text);
}
