/* SPDX-License-Identifier: BSD-3-Clause */
/* transport.c - the ways to a disk, and the choice among them: a list of names that the client gave is tried in order.
 * A new transport is a row of the table. */
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/remote_int.h"

struct transport {
    const char *name;
    /** Opens a disk of a server; NULL: only for local disks, which do not come here. */
    VixError (*open)(struct remote *r, const struct remote_request *request, struct disk **ret_disk, struct err *err);
    /** Whether a failure is one of this transport, so that another may do better. */
    bool (*is_own_failure)(VixError code);
    const char *allowed_by; /* the configuration that lets it be tried where none is named; NULL: it is always */
};

static VixError open_nbd(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                         struct err *err)
{
    return remote_open_nfc(r, request, false, ret_disk, err);
}

static VixError open_nbdssl(struct remote *r, const struct remote_request *request, struct disk **ret_disk,
                            struct err *err)
{
    return remote_open_nfc(r, request, true, ret_disk, err);
}

/** The two ways of NFC differ in nothing but the handshake: what else fails would fail with the other too. */
static bool is_handshake(VixError code)
{
    return code == VIX_E_HOST_NETBLKDEV_HANDSHAKE || code == VIX_E_NOT_SUPPORTED;
}

/** Attaching depends on this machine and its server's state more than on the disk: most of what fails there can be done
 * over the network. */
static bool is_not_the_disk(VixError code)
{
    return code != VIX_E_FILE_NOT_FOUND && code != VIX_E_OUT_OF_MEMORY && code != VIX_E_VM_NOT_FOUND &&
           code != VIX_E_OBJECT_NOT_FOUND && code != VIX_E_INVALID_ARG;
}

/** What SAN cannot do, NFC may. */
static bool is_not_memory(VixError code)
{
    return code != VIX_E_OUT_OF_MEMORY;
}

#define TRANSPORT_NAMES "file:san:hotadd:nbdssl:nbd"

static const struct transport transports[] = {
    {.name = "file"},
    {.name = "san", .open = remote_open_san, .is_own_failure = is_not_memory},
    {.name = "hotadd", .open = remote_open_hotadd, .is_own_failure = is_not_the_disk, .allowed_by = CONFIG_HOTADD},
    {.name = "nbdssl", .open = open_nbdssl, .is_own_failure = is_handshake},
    {.name = "nbd", .open = open_nbd, .is_own_failure = is_handshake},
};

const char *remote_transport_names(void)
{
    return TRANSPORT_NAMES;
}

static const struct transport *find_transport(const char *name)
{
    for (size_t i = 0; i < sizeof transports / sizeof transports[0]; i++) {
        if (text_equal_nocase(transports[i].name, name)) {
            return &transports[i];
        }
    }
    return NULL;
}

/** Takes the next name off a list. */
static bool next_name(const char **list, char *name, size_t size)
{
    while (**list == ':') {
        (*list)++;
    }
    size_t len = strcspn(*list, ":");
    if (len == 0) {
        return false;
    }
    size_t n = len < size ? len : size - 1;
    memcpy(name, *list, n);
    name[n] = '\0';
    *list += len;
    return true;
}

VixError transport_open(struct remote *r, const struct remote_request *request, struct disk **ret_disk, struct err *err)
{
    const char *list = r->transports != NULL ? r->transports : TRANSPORT_NAMES;
    const char *rest = list;
    char name[32];
    VixError code = VIX_E_NOT_SUPPORTED;
    bool tried = false;

    while (next_name(&rest, name, sizeof name)) {
        const struct transport *t = find_transport(name);
        if (t == NULL || t->open == NULL) {
            if (t == NULL) {
                log_news("%s: transport \"%s\" is not one of %s: left out", request->path, name, TRANSPORT_NAMES);
            }
            continue;
        }
        if (r->transports == NULL && t->allowed_by != NULL && !config_bool(t->allowed_by, false)) {
            continue;
        }
        if (tried) {
            log_news("%s: %s, so transport %s is tried", request->path, err->text, t->name);
        }
        tried = true;
        code = t->open(r, request, ret_disk, err);
        if (code == VIX_OK || !t->is_own_failure(code)) {
            return code;
        }
    }
    if (tried) {
        return code;
    }
    return err_set(err, VIX_E_NOT_SUPPORTED,
                   "%s: none of the transports \"%s\" leads to a disk of a server; there are %s", vim_peer(r->session),
                   list, TRANSPORT_NAMES);
}
