/* SPDX-License-Identifier: BSD-3-Clause */
/* What the errors of a host mean: few of its numbers are known, its words tell more. The words are those that VMware's
 * hosts were seen to send. Pure functions. */
#include <stdio.h>
#include <string.h>

#include "nfc/client_int.h"

struct row {
    const char *words; /* in the host's text */
    VixError code;
    const char *advice;
};

static const struct row by_words[] = {
    {"Failed to allocate the requested", VIX_E_OUT_OF_MEMORY,
     "the host is out of memory for NFC: read less at a time or end other connections to it"},
    {"Failed to lock the file", VIX_E_FILE_ALREADY_LOCKED, "the disk is in use: close it elsewhere first"},
    {"DiskLib error 16392", VIX_E_FILE_ALREADY_LOCKED, "the disk is in use: close it elsewhere first"},
    {"cannot be opened in multiwriter mode", VIX_E_FILE_ALREADY_LOCKED,
     "the virtual machine is running: take a snapshot and open the disk below it"},
    {"not find", VIX_E_FILE_NOT_FOUND, "check the path"},
    {"No such file", VIX_E_FILE_NOT_FOUND, "check the path"},
    {"No space", VIX_E_DISK_FULL, "make room on the datastore"},
    {"out of space", VIX_E_DISK_FULL, "make room on the datastore"},
};

#define ROWS(table) (sizeof(table) / sizeof(table)[0])

static const struct row *row_of_words(const char *text)
{
    for (size_t i = 0; i < ROWS(by_words); i++) {
        if (strstr(text, by_words[i].words) != NULL) {
            return &by_words[i];
        }
    }
    return NULL;
}

/** The number is looked at where the words say nothing. */
static VixError code_of_number(const struct nfc_refusal *r)
{
    switch (r->error.code) {
    case NFC_ERROR_BAD_PARAMETER:
        return VIX_E_INVALID_ARG;
    case NFC_ERROR_NO_MEMORY:
        return VIX_E_OUT_OF_MEMORY;
    case NFC_ERROR_UNSUPPORTED:
        return VIX_E_NOT_SUPPORTED;
    case NFC_ERROR_PERMISSION:
        return r->writes ? VIX_E_FILE_READ_ONLY : VIX_E_FILE_ACCESS_ERROR;
    default:
        return r->io ? VIX_E_DISK_NOIO : VIX_E_FILE_ERROR;
    }
}

static const char *advice_of_code(VixError code)
{
    switch (code) {
    case VIX_E_OUT_OF_MEMORY:
        return by_words[0].advice;
    case VIX_E_FILE_READ_ONLY:
    case VIX_E_FILE_ACCESS_ERROR:
        return "the ticket does not allow it: check the user's privileges and whether the disk was to be written";
    case VIX_E_NOT_SUPPORTED:
        return "the host is too old, or does not do that";
    default:
        return "the host's log tells more";
    }
}

void nfc_quote(const char *from, size_t len, char text[NFC_QUOTE_MAX])
{
    size_t n = 0;

    for (; n < len && n + 1 < NFC_QUOTE_MAX && from[n] != '\0'; n++) {
        text[n] = from[n] >= ' ' && from[n] <= '~' ? from[n] : ' ';
    }
    while (n > 0 && text[n - 1] == ' ') {
        n--;
    }
    text[n] = '\0';
}

VixError nfc_refusal_code(const struct nfc_refusal *r, struct err *err)
{
    char text[NFC_QUOTE_MAX];
    const struct row *row;
    VixError code;
    const char *advice;

    nfc_quote(r->text, r->error.text_len, text);
    row = row_of_words(text);
    if (r->own && r->error.detail != VIX_OK && err_name_of_code(r->error.detail) != NULL) {
        code = r->error.detail;
    } else {
        code = row != NULL ? row->code : code_of_number(r);
    }
    advice = row != NULL && row->code == code ? row->advice : advice_of_code(code);
    return err_set(err, code, "%s: the host %s: %s (NFC error %u); %s", r->peer,
                   r->opens ? "does not open the disk" : "refuses the request",
                   text[0] != '\0' ? text : "no reason given", r->error.code, advice);
}
