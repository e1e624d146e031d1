/* SPDX-License-Identifier: BSD-3-Clause */
/* The lines of the authentication daemon on port 902: banner, commands, names of services. */
#include <stdio.h>
#include <string.h>

#include "nfc/wire.h"

#define BANNER_HEAD "220 VMware Authentication Daemon Version 1.10: "

/* the "/t" and the blank before a comma are really on the wire */
#define WORD_SSL "SSL Required"
#define WORD_NFCSSL "NFCSSL supported"
#define WORD_SHA256 "SHA256 supported"

size_t nfc_banner_put(const struct nfc_banner *banner, char *text)
{
    return (size_t)snprintf(text, NFC_LINE_MAX,
                            BANNER_HEAD
                            "%sServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , VMXARGS supported%s%s%s\r\n",
                            banner->ssl ? WORD_SSL ", " : "", banner->nfcssl ? ", " WORD_NFCSSL "/t" : "",
                            banner->sha256 ? ", " WORD_SHA256 : "", banner->extension ? ", " NFC_EXTENSION_WORD : "");
}

bool nfc_banner_get(const char *line, struct nfc_banner *ret_banner)
{
    if (nfc_reply_get(line, &line) != 220) {
        return false;
    }
    ret_banner->ssl = strstr(line, WORD_SSL) != NULL;
    ret_banner->nfcssl = strstr(line, WORD_NFCSSL) != NULL;
    ret_banner->sha256 = strstr(line, WORD_SHA256) != NULL;
    ret_banner->extension = strstr(line, NFC_EXTENSION_WORD) != NULL;
    return true;
}

unsigned nfc_reply_get(const char *line, const char **ret_text)
{
    unsigned number = 0;

    for (int i = 0; i < 3; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return 0;
        }
        number = number * 10 + (unsigned)(line[i] - '0');
    }
    if (line[3] != '\0' && line[3] != ' ' && line[3] != '-') {
        return 0;
    }
    *ret_text = line[3] != '\0' ? line + 4 : line + 3;
    return number;
}

enum nfc_command nfc_command_get(char *line, char **ret_arg)
{
    static const char *const words[] = {
        [NFC_COMMAND_SESSION] = "SESSION",       [NFC_COMMAND_BANNER] = "BANNER",
        [NFC_COMMAND_THUMBPRINT] = "THUMBPRINT", [NFC_COMMAND_THUMBPRINT_SHA2] = "THUMBPRINT_SHA2",
        [NFC_COMMAND_PROXY] = "PROXY",           [NFC_COMMAND_QUIT] = "QUIT",
    };
    size_t len = strlen(line);
    size_t word_len;

    while (len > 0 && line[len - 1] == ' ') {
        line[--len] = '\0';
    }
    word_len = strcspn(line, " ");
    *ret_arg = line + word_len;
    while (**ret_arg == ' ') {
        (*ret_arg)++;
    }
    for (size_t i = NFC_COMMAND_SESSION; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) == word_len && memcmp(line, words[i], word_len) == 0) {
            return (enum nfc_command)i;
        }
    }
    return NFC_COMMAND_UNKNOWN;
}

bool nfc_tag_is_valid(const char *tag)
{
    size_t len = 0;

    for (; tag[len] != '\0'; len++) {
        if (len == NFC_TAG_MAX || tag[len] <= ' ' || tag[len] > '~' || tag[len] == ':') {
            return false;
        }
    }
    return len > 0;
}

static bool ends_with_ssl(const char *word, size_t len)
{
    return len >= 3 && memcmp(word + len - 3, "ssl", 3) == 0;
}

bool nfc_service_put(const char *ticket_service, bool ssl, char *text)
{
    size_t len = strnlen(ticket_service, NFC_SERVICE_MAX);

    if (len == 0 || len + 4 > NFC_SERVICE_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (ticket_service[i] <= ' ' || ticket_service[i] > '~') {
            return false;
        }
    }
    memcpy(text, ticket_service, len + 1);
    if (ssl && !ends_with_ssl(text, len)) {
        memcpy(text + len, "ssl", 4);
    }
    return true;
}

bool nfc_service_get(const char *word, const char **ret_service, bool *ret_ssl)
{
    static const char *const services[] = {"nfc", "vpxa-nfc", "ha-nfc"};
    size_t len = strlen(word);
    bool ssl = ends_with_ssl(word, len);

    len -= ssl ? 3 : 0;
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        if (strlen(services[i]) == len && memcmp(word, services[i], len) == 0) {
            *ret_service = services[i];
            *ret_ssl = ssl;
            return true;
        }
    }
    return false;
}
