/* SPDX-License-Identifier: BSD-3-Clause */
/* lun.c - the ids of block devices: sysfs first, which needs no rights, then page 0x83 as the kernel keeps it, then the
 * names that udev gives; a SCSI disk that none of these tells of is asked. Any thread; no state. */
#include "disk/lun.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/scsi.h"

#define NAME_MAX_LEN 128u /* limit: bytes of the name of a LUN */
#define SCAN_MS 10000u    /* limit: ms for a LUN to appear after a scan */
#define POLL_MS 200u      /* own: between looks */

/** What is looked for. */
struct wanted {
    const struct hostview *v;
    char name[NAME_MAX_LEN]; /* lower case: "naa.6000..." */
    const char *id;          /* behind the dot */
};

static VixError parse_name(const char *name, struct wanted *w, struct err *err)
{
    size_t len = strlen(name);

    if (len < NAME_MAX_LEN) {
        for (size_t i = 0; i <= len; i++) {
            w->name[i] = text_lower(name[i]);
        }
        const char *dot = strchr(w->name, '.');
        bool known =
            strncmp(w->name, "naa.", 4) == 0 || strncmp(w->name, "eui.", 4) == 0 || strncmp(w->name, "t10.", 4) == 0;
        if (known && dot[1] != '\0' && strchr(w->name, '/') == NULL) {
            w->id = dot + 1;
            return VIX_OK;
        }
    }
    return err_set(err, VIX_E_NOT_SUPPORTED, "LUN \"%.100s\": only naa., eui. and t10. names tell which device it is",
                   name);
}

/* ---- ids ---- */

/** Whether two ids are the same: no case, and of T10 ids a blank is an underscore, at the end nothing. */
static bool same_id(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    bool t10 = strncmp(b, "t10.", 4) == 0;

    while (t10 && a_len > 4 && (a[a_len - 1] == '_' || a[a_len - 1] == ' ')) {
        a_len--;
    }
    while (t10 && b_len > 4 && b[b_len - 1] == '_') {
        b_len--;
    }
    for (size_t i = 0; i < a_len && a_len == b_len; i++) {
        char c = t10 && a[i] == ' ' ? '_' : a[i];
        if (text_lower(c) != text_lower(b[i])) {
            return false;
        }
    }
    return a_len == b_len;
}

bool lun_page83_has(const uint8_t *page, size_t len, const char *name)
{
    struct scsi_ids ids = {.count = 0};
    bool found = false;

    (void)scsi_ids_of_page83(page, len, &ids, NULL);
    for (unsigned i = 0; i < ids.count && !found; i++) {
        found = same_id(ids.ids[i], name);
    }
    scsi_ids_free(&ids);
    return found;
}

/* ---- devices ---- */

/** A text of sysfs about a device; false if it is not there. */
static bool attribute(const struct hostview *v, const char *device, const char *what, char **ret_text)
{
    char path[300];

    (void)snprintf(path, sizeof path, "/sys/block/%.100s/%s", device, what);
    return hostview_read_text(v, path, ret_text, NULL) == VIX_OK;
}

static bool has_wwid(const struct wanted *w, const char *device, const char *what)
{
    CLEANUP_FREE char *text = NULL;

    if (!attribute(w->v, device, what, &text)) {
        return false;
    }
    return same_id(text, w->name);
}

static bool has_page83(const struct wanted *w, const char *device)
{
    CLEANUP_FREE char *page = NULL;
    char path[300];
    size_t len = 0;

    (void)snprintf(path, sizeof path, "/sys/block/%.100s/device/vpd_pg83", device);
    return hostview_read(w->v, path, &page, &len, NULL) == VIX_OK &&
           lun_page83_has((const uint8_t *)page, len, w->name);
}

/** A SCSI disk of which the system keeps no id, or does not show it to this user. */
static bool is_nameless_disk(const struct hostview *v, const char *device)
{
    static const char *const kept[] = {"device/wwid", "device/vpd_pg83"};
    CLEANUP_FREE char *type = NULL;

    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        CLEANUP_FREE char *text = NULL;
        if (attribute(v, device, kept[i], &text)) {
            return false;
        }
    }
    return attribute(v, device, "device/type", &type) && strcmp(type, "0") == 0;
}

static bool answers_page83(const struct wanted *w, const char *device)
{
    CLEANUP_FREE char *page = NULL;
    char path[160];
    size_t len = 0;

    (void)snprintf(path, sizeof path, "/dev/%.100s", device);
    return is_nameless_disk(w->v, device) && hostview_inquiry(w->v, path, 0x83, &page, &len, NULL) == VIX_OK &&
           lun_page83_has((const uint8_t *)page, len, w->name);
}

/** The device that a name of udev leads to; NULL: none. */
static char *by_id(const struct hostview *v, const char *link)
{
    CLEANUP_FREE char *target = NULL;
    char path[300];

    (void)snprintf(path, sizeof path, "/dev/disk/by-id/%.200s", link);
    if (hostview_read_link(v, path, &target, NULL) != VIX_OK) {
        return NULL;
    }
    return alloc_text(store_path_base(target), NULL);
}

/** Whether one of udev's names for the id leads to the device. */
static bool has_udev_name(const struct wanted *w, const char *device)
{
    static const char *const naa[] = {"wwn-0x%s", "scsi-3%s", "dm-uuid-mpath-3%s"};
    static const char *const eui[] = {"wwn-0x%s", "scsi-2%s", "dm-uuid-mpath-2%s", "nvme-eui.%s",
                                      "dm-uuid-mpath-eui.%s"};
    bool is_naa = w->name[0] == 'n';
    const char *const *formats = is_naa ? naa : eui;
    size_t count = is_naa ? sizeof naa / sizeof naa[0] : sizeof eui / sizeof eui[0];
    bool found = false;

    for (size_t i = 0; i < count && w->name[0] != 't' && !found; i++) {
        const char *percent = strchr(formats[i], '%');
        char link[NAME_MAX_LEN + 40];
        (void)snprintf(link, sizeof link, "%.*s%s", (int)(percent - formats[i]), formats[i], w->id);
        CLEANUP_FREE char *leads_to = by_id(w->v, link);
        found = leads_to != NULL && strcmp(leads_to, device) == 0;
    }
    return found;
}

static bool is_wanted(const struct wanted *w, const char *device)
{
    return has_wwid(w, device, "device/wwid") || has_wwid(w, device, "wwid") || has_page83(w, device) ||
           has_udev_name(w, device) || answers_page83(w, device);
}

static bool is_multipath(const struct hostview *v, const char *device)
{
    CLEANUP_FREE char *uuid = NULL;

    return attribute(v, device, "dm/uuid", &uuid) && strncmp(uuid, "mpath-", 6) == 0;
}

/** The multipath device over a path, or a copy of the path's own name. */
static VixError over_paths(const struct hostview *v, const char *device, char **ret_device, struct err *err)
{
    struct hostview_names holders = {0};
    const char *chosen = device;
    char path[300];

    (void)snprintf(path, sizeof path, "/sys/block/%.100s/holders", device);
    (void)hostview_list(v, path, &holders, NULL);
    for (size_t i = 0; i < holders.count && chosen == device; i++) {
        chosen = is_multipath(v, holders.names[i]) ? holders.names[i] : device;
    }
    *ret_device = alloc_text(chosen, err);
    hostview_names_free(&holders);
    return *ret_device != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

/* ---- what the configuration allows ---- */

bool lun_list_has(const char *list, const char *const *names, size_t count)
{
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ","), word_len;
        const char *word = text_trim(list, len, &word_len);
        CLEANUP_FREE char *pattern = alloc_text_n(word, word_len, NULL);
        for (size_t i = 0; i < count && pattern != NULL && word_len > 0; i++) {
            if (names[i] != NULL && fnmatch(pattern, names[i], 0) == 0) {
                return true;
            }
        }
        list += len + (list[len] == ',');
    }
    return false;
}

static const char *list_of(const char *key, const char *old_key)
{
    const char *list = config_text(key);
    return list != NULL ? list : config_text(old_key);
}

/** Whether a list has one of the names of a device: its own, and those that device mapper and udev give it. */
static bool lists_device(const struct hostview *v, const char *list, const char *device)
{
    CLEANUP_FREE char *mapper = NULL;
    struct hostview_names links = {0};
    char name[320];
    const char *const names[] = {name};

    (void)snprintf(name, sizeof name, "/dev/%.100s", device);
    bool found = lun_list_has(list, names, 1);
    if (!found && attribute(v, device, "dm/name", &mapper)) {
        (void)snprintf(name, sizeof name, "/dev/mapper/%.256s", mapper);
        found = lun_list_has(list, names, 1);
    }
    if (!found && list != NULL) {
        (void)hostview_list(v, "/dev/disk/by-id", &links, NULL);
    }
    for (size_t i = 0; i < links.count && !found; i++) {
        CLEANUP_FREE char *leads_to = by_id(v, links.names[i]);
        (void)snprintf(name, sizeof name, "/dev/disk/by-id/%.256s", links.names[i]);
        found = leads_to != NULL && strcmp(leads_to, device) == 0 && lun_list_has(list, names, 1);
    }
    hostview_names_free(&links);
    return found;
}

/** Whether a list has the LUN, a path to it, or the multipath device over that. */
static bool lists_lun(const struct wanted *w, const char *list, const char *device, const char *over)
{
    const char *const names[] = {w->name};
    return lun_list_has(list, names, 1) || lists_device(w->v, list, device) || lists_device(w->v, list, over);
}

static bool is_allowed(const struct wanted *w, const char *device, const char *over)
{
    static const char *const all[] = {"all"};
    const char *deny = list_of(CONFIG_SAN_DENY, CONFIG_SAN_DENY_OLD);

    if (lists_lun(w, list_of(CONFIG_SAN_ALLOW, CONFIG_SAN_ALLOW_OLD), device, over)) {
        return true;
    }
    return !lun_list_has(deny, all, 1) && !lists_lun(w, deny, device, over);
}

/* ---- finding ---- */

static VixError add_node(struct lun_nodes *nodes, const char *device, struct err *err)
{
    CLEANUP_FREE char *node = alloc_printf(err, "/dev/%s", device);

    if (node == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < nodes->count; i++) {
        if (strcmp(nodes->nodes[i], node) == 0) {
            return VIX_OK;
        }
    }
    if (nodes->count < LUN_MAX_PATHS) {
        nodes->nodes[nodes->count++] = TAKE_PTR(node);
    }
    return VIX_OK;
}

static VixError look_at(const struct wanted *w, const char *device, struct lun_nodes *nodes, unsigned *denied,
                        struct err *err)
{
    char *found = NULL;

    if (!is_wanted(w, device)) {
        return VIX_OK;
    }
    VixError code = over_paths(w->v, device, &found, err);
    CLEANUP_FREE char *over = found;
    if (code != VIX_OK) {
        return code;
    }
    if (!is_allowed(w, device, over)) {
        (*denied)++;
        return VIX_OK;
    }
    return add_node(nodes, over, err);
}

static VixError look_at_all(const struct wanted *w, struct lun_nodes *nodes, unsigned *denied, struct err *err)
{
    struct hostview_names devices = {0};
    VixError code = VIX_OK;

    if (hostview_list(w->v, "/sys/block", &devices, NULL) != VIX_OK) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "LUN %s: this machine shows no block devices", w->name);
    }
    for (size_t i = 0; i < devices.count && code == VIX_OK; i++) {
        code = look_at(w, devices.names[i], nodes, denied, err);
    }
    hostview_names_free(&devices);
    return code;
}

/** Has all SCSI hosts of the machine look for LUNs that they do not know. */
static void scan(const struct hostview *v)
{
    struct hostview_names names = {0};

    (void)hostview_list(v, "/sys/class/scsi_host", &names, NULL);
    for (size_t i = 0; i < names.count; i++) {
        char path[160];
        struct err err;
        err_init(&err);
        (void)snprintf(path, sizeof path, "/sys/class/scsi_host/%.100s/scan", names.names[i]);
        if (hostview_write_text(v, path, "- - -", &err) != VIX_OK) {
            log_news("no scan for LUNs: %s", err.text);
        }
    }
    hostview_names_free(&names);
}

/** The same after a scan, which is a heavy thing for a machine with many LUNs: only where the configuration says so. */
static VixError look_after_scan(const struct wanted *w, struct lun_nodes *nodes, unsigned *denied, struct err *err)
{
    unsigned began = hostview_now_ms();
    VixError code = VIX_OK;

    log_news("LUN %s is not there: the SCSI hosts look for it", w->name);
    scan(w->v);
    while (code == VIX_OK && nodes->count == 0 && *denied == 0 && hostview_now_ms() - began < SCAN_MS) {
        hostview_pause_ms(POLL_MS);
        code = look_at_all(w, nodes, denied, err);
    }
    return code;
}

VixError lun_find(const struct hostview *v, const char *name, bool may_scan, struct lun_nodes *ret_nodes,
                  struct err *err)
{
    struct wanted w = {.v = v};
    struct lun_nodes nodes = {.count = 0};
    unsigned denied = 0;

    VixError code = parse_name(name, &w, err);
    if (code == VIX_OK) {
        code = look_at_all(&w, &nodes, &denied, err);
    }
    if (code == VIX_OK && nodes.count == 0 && denied == 0 && may_scan && config_bool(CONFIG_SAN_RESCAN, false)) {
        code = look_after_scan(&w, &nodes, &denied, err);
    }
    if (code == VIX_OK && nodes.count == 0) {
        code = err_set(err, VIX_E_NOT_SUPPORTED, "LUN %s: %s", name,
                       denied > 0 ? "the configuration keeps its devices from SAN"
                                  : "no block device of this machine has this id");
    }
    if (code != VIX_OK) {
        lun_nodes_free(&nodes);
        return code;
    }
    *ret_nodes = nodes;
    return VIX_OK;
}

void lun_nodes_free(struct lun_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->nodes[i]);
    }
    nodes->count = 0;
}

bool lun_any(const struct hostview *v)
{
    struct hostview_names devices = {0};
    bool any = false;

    (void)hostview_list(v, "/sys/block", &devices, NULL);
    for (size_t i = 0; i < devices.count && !any; i++) {
        CLEANUP_FREE char *wwid = NULL;
        any = attribute(v, devices.names[i], "device/wwid", &wwid) || attribute(v, devices.names[i], "wwid", &wwid) ||
              attribute(v, devices.names[i], "device/vpd_pg83", &wwid) || is_nameless_disk(v, devices.names[i]);
    }
    hostview_names_free(&devices);
    struct hostview_names links = {0};
    any = any || config_bool(CONFIG_SAN_RESCAN, false) ||
          (hostview_list(v, "/dev/disk/by-id", &links, NULL) == VIX_OK && links.count > 0);
    hostview_names_free(&links);
    return any;
}
