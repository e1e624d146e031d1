/* SPDX-License-Identifier: BSD-3-Clause */
/* guest.c - finding ourselves: the UUID of the firmware's tables, and the machine that the server has by it. */
#include "disk/guest.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#define DMI "/sys/class/dmi/id/"
#define NETWORK "/sys/class/net"
#define UUID_DIGITS 32

/* ---- the UUID ---- */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/** The 32 digits of a text, lower case; other characters are passed over. */
static bool take_digits(const char *text, char *ret_digits)
{
    unsigned count = 0;

    for (; *text != '\0'; text++) {
        char c = text_lower(*text);
        if (!is_hex(c)) {
            continue;
        }
        if (count == UUID_DIGITS) {
            return false;
        }
        ret_digits[count++] = c;
    }
    return count == UUID_DIGITS;
}

/** Adds digits, taken in the order of @order, if that spelling is new. */
static void add_uuid(struct guest_uuids *uuids, const char *digits, const char *order)
{
    char *out = uuids->text[uuids->count];
    size_t at = 0;

    for (unsigned i = 0; i < UUID_DIGITS / 2; i++) {
        unsigned from = (unsigned)(order[i] - 'a');
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out[at++] = '-';
        }
        out[at++] = digits[2 * from];
        out[at++] = digits[2 * from + 1];
    }
    out[at] = '\0';
    if (uuids->count == 0 || strcmp(out, uuids->text[0]) != 0) {
        uuids->count++;
    }
}

/* The serial number has the bytes in the order in which vSphere writes them; the UUID, by the version of the tables, in
 * that order or with its first three numbers turned around. */
#define AS_IT_IS "abcdefghijklmnop"
#define TURNED "dcbafehgijklmnop"

static bool from_serial(const struct hostview *v, struct guest_uuids *uuids)
{
    static const char prefix[] = "VMware-";
    CLEANUP_FREE char *serial = NULL;
    char digits[UUID_DIGITS];

    if (hostview_read_text(v, DMI "product_serial", &serial, NULL) != VIX_OK ||
        strncmp(serial, prefix, sizeof prefix - 1) != 0 || !take_digits(serial + sizeof prefix - 1, digits)) {
        return false;
    }
    add_uuid(uuids, digits, AS_IT_IS);
    return true;
}

static VixError from_uuid(const struct hostview *v, struct guest_uuids *uuids, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    char digits[UUID_DIGITS];
    struct err why;

    err_init(&why);
    if (hostview_read_text(v, DMI "product_uuid", &text, &why) != VIX_OK) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the UUID of this machine is not known, which root may read: %s",
                       why.text);
    }
    if (!take_digits(text, digits)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "the UUID of this machine, \"%.60s\", is none", text);
    }
    add_uuid(uuids, digits, AS_IT_IS);
    add_uuid(uuids, digits, TURNED);
    return VIX_OK;
}

/** The maker of this machine; NULL: not told. */
static char *maker(const struct hostview *v)
{
    char *vendor = NULL;

    (void)hostview_read_text(v, DMI "sys_vendor", &vendor, NULL);
    return vendor;
}

bool guest_is_vmware(const struct hostview *v)
{
    CLEANUP_FREE char *vendor = maker(v);
    return vendor != NULL && strstr(vendor, "VMware") != NULL;
}

VixError guest_uuids(const struct hostview *v, struct guest_uuids *ret_uuids, struct err *err)
{
    CLEANUP_FREE char *vendor = maker(v);
    struct guest_uuids uuids = {0};

    if (!guest_is_vmware(v)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "this machine is no virtual machine of VMware: its maker is %.60s",
                       vendor != NULL ? vendor : "not told");
    }
    VixError code = from_serial(v, &uuids) ? VIX_OK : from_uuid(v, &uuids, err);
    if (code == VIX_OK) {
        *ret_uuids = uuids;
    }
    return code;
}

/* ---- the machine ---- */

static bool has_mac(const struct vim_vm *vm, const char *mac)
{
    for (size_t i = 0; i < vm->mac_count; i++) {
        if (text_equal_nocase(vm->macs[i], mac)) {
            return true;
        }
    }
    return false;
}

/** Whether a card of this machine is one of vm. *ret_seen: addresses that were looked at. */
static bool shares_mac(const struct hostview *v, const struct vim_vm *vm, unsigned *ret_seen)
{
    struct hostview_names names = {0};
    bool shared = false;

    if (hostview_list(v, NETWORK, &names, NULL) != VIX_OK) {
        return false;
    }
    for (size_t i = 0; i < names.count && !shared; i++) {
        CLEANUP_FREE char *mac = NULL;
        char path[128];
        (void)snprintf(path, sizeof path, NETWORK "/%.60s/address", names.names[i]);
        if (hostview_read_text(v, path, &mac, NULL) == VIX_OK && strlen(mac) == 17 &&
            strcmp(mac, "00:00:00:00:00:00") != 0) {
            shared = has_mac(vm, mac);
            (*ret_seen)++;
        }
    }
    hostview_names_free(&names);
    return shared;
}

/** A copy of a machine may have its UUID, but has network cards of its own. */
static VixError check_cards(const struct hostview *v, struct vim_session *s, const struct vim_vm *vm, struct err *err)
{
    unsigned seen = 0;

    if (vm->mac_count == 0 || shares_mac(v, vm, &seen) || seen == 0) {
        return VIX_OK;
    }
    return err_set(err, VIX_E_NOT_SUPPORTED,
                   "%s: the machine with the UUID of this one, %s \"%.100s\", is another: it has %zu network cards, %u "
                   "are here, none is the same",
                   vim_peer(s), vm->moref, vm->name != NULL ? vm->name : "", vm->mac_count, seen);
}

static VixError find_moref(struct vim_session *s, const struct guest_uuids *uuids, char **ret_moref, struct err *err)
{
    for (unsigned i = 0; i < uuids->count; i++) {
        char spec[48];
        (void)snprintf(spec, sizeof spec, "uuid=%s", uuids->text[i]);
        VixError code = vim_find_vm(s, spec, ret_moref, err);
        if (code != VIX_E_VM_NOT_FOUND) {
            return code;
        }
    }
    return err_set(err, VIX_E_NOT_SUPPORTED,
                   "%s: this machine, UUID %s%s%s, is no virtual machine of the server, or this user cannot see it",
                   vim_peer(s), uuids->text[0], uuids->count > 1 ? " or " : "", uuids->count > 1 ? uuids->text[1] : "");
}

VixError guest_find(const struct hostview *v, struct vim_session *s, struct vim_vm **ret_vm, struct err *err)
{
    struct guest_uuids uuids = {0};
    CLEANUP_FREE char *moref = NULL;
    struct vim_vm *vm = NULL;
    VixError code = guest_uuids(v, &uuids, err);

    if (code == VIX_OK) {
        code = find_moref(s, &uuids, &moref, err);
    }
    if (code == VIX_OK) {
        code = vim_read_vm(s, moref, NULL, &vm, err);
    }
    if (code == VIX_OK) {
        code = check_cards(v, s, vm, err);
    }
    if (code != VIX_OK) {
        vim_vm_free(vm);
        return code;
    }
    *ret_vm = vm;
    return VIX_OK;
}
