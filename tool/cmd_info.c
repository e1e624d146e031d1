/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_info.c - tells about a disk: for people, or as JSON with the key names of qemu-img. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "json.h"
#include "text.h"

#define NO_PARENT 0xffffffffu

struct info_args {
    enum disk_format format;
    bool single_link;
};

static const struct option_spec options[] = {
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct info_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.name = "single-link",
     .kind = OPTION_FLAG,
     .at = offsetof(struct info_args, single_link),
     .help = "this link only, not its parents"},
    {.kind = OPTION_END},
};

/** What is told about a disk. */
struct disk_facts {
    const char *path;
    const VixDiskLibInfo *info;
    const VixDiskLibExt_Details *details;
    char *hw_version; /* or NULL */
    bool thin;
    const char *transport; /* of a disk on a server, else NULL */
};

/** A value of the disk database, to be freed; NULL if there is none. */
static char *read_key(VixDiskLibHandle disk, const char *key)
{
    size_t len = 0;
    VixError code = VixDiskLib_ReadMetadata(disk, key, NULL, 0, &len);
    if (code != VIX_E_BUFFER_TOOSMALL) {
        return NULL;
    }
    char *value = malloc(len);
    if (value != NULL && VixDiskLib_ReadMetadata(disk, key, value, len, NULL) != VIX_OK) {
        free(value);
        value = NULL;
    }
    return value;
}

/** The grain size of a link in bytes; 0 if it has none. */
static uint64_t link_grain_bytes(const VixDiskLibExt_Link *link)
{
    for (uint32_t i = 0; i < link->numExtents; i++) {
        if (link->extents[i].grainSectors != 0) {
            return link->extents[i].grainSectors * SECTOR_BYTES;
        }
    }
    return 0;
}

/** The space that the files of one link take: its extents, each file once, and its descriptor. */
static uint64_t link_allocated_bytes(const VixDiskLibExt_Link *link)
{
    const char *last = link->file;
    struct stat st;
    uint64_t sum = stat(link->file, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    for (uint32_t i = 0; i < link->numExtents; i++) {
        const char *file = link->extents[i].file;
        if (file != NULL && strcmp(file, last) != 0 && strcmp(file, link->file) != 0) {
            sum += link->extents[i].allocatedBytes;
            last = file;
        }
    }
    return sum;
}

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

/* ---- JSON ---- */

static struct json_object *extent_json(const VixDiskLibExt_Extent *extent)
{
    struct json_object *object = json_object_new_object();
    if (extent->compressed) {
        json_add_bool(object, "compressed", true);
    }
    json_add_number(object, "virtual-size", extent->numSectors * SECTOR_BYTES);
    json_add_text(object, "filename", or_empty(extent->file));
    if (extent->grainSectors != 0) {
        json_add_number(object, "cluster-size", extent->grainSectors * SECTOR_BYTES);
    }
    json_add_text(object, "format", or_empty(extent->type));
    json_add_text(object, "access", or_empty(extent->access));
    if (extent->offsetSectors != 0) {
        json_add_number(object, "offset", extent->offsetSectors * SECTOR_BYTES);
    }
    json_add_number(object, "file-size", extent->fileBytes);
    json_add_number(object, "actual-size", extent->allocatedBytes);
    return object;
}

/** cid, parent-cid, create-type and extents of a link, as members of an object. */
static void add_link_json(struct json_object *object, const VixDiskLibExt_Link *link)
{
    struct json_object *extents = json_object_new_array();
    json_add_number(object, "cid", link->cid);
    json_add_number(object, "parent-cid", link->parentCid);
    json_add_text(object, "create-type", or_empty(link->createType));
    for (uint32_t i = 0; i < link->numExtents; i++) {
        json_object_array_add(extents, extent_json(&link->extents[i]));
    }
    json_object_object_add(object, "extents", extents);
}

static struct json_object *chain_json(const VixDiskLibExt_Details *details)
{
    struct json_object *chain = json_object_new_array();
    for (uint32_t i = 0; i < details->numLinks; i++) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "filename", details->links[i].file);
        if (details->links[i].parentHint != NULL) {
            json_add_text(object, "backing-filename", details->links[i].parentHint);
        }
        if (details->links[i].changeTrackFile != NULL) {
            json_add_text(object, "change-track-file", details->links[i].changeTrackFile);
        }
        add_link_json(object, &details->links[i]);
        json_object_array_add(chain, object);
    }
    return chain;
}

static struct json_object *geometry_json(const VixDiskLibGeometry *geometry)
{
    struct json_object *object = json_object_new_object();
    json_add_number(object, "cylinders", geometry->cylinders);
    json_add_number(object, "heads", geometry->heads);
    json_add_number(object, "sectors", geometry->sectors);
    return object;
}

/** What is known of any VMDK, wherever it is. */
static void add_database_json(struct json_object *object, const struct disk_facts *facts)
{
    json_object_object_add(object, "geometry", geometry_json(&facts->info->physGeo));
    json_object_object_add(object, "bios-geometry", geometry_json(&facts->info->biosGeo));
    json_add_text(object, "adapter-type", adapter_name(facts->info->adapterType));
    if (facts->info->uuid != NULL) {
        json_add_text(object, "uuid", facts->info->uuid);
    }
    if (facts->hw_version != NULL) {
        json_add_text(object, "hw-version", facts->hw_version);
    }
    if (facts->thin) {
        json_add_bool(object, "thin-provisioned", true);
    }
    json_add_number(object, "logical-sector-size", facts->info->logicalSectorSize);
    json_add_number(object, "physical-sector-size", facts->info->physicalSectorSize);
}

static void add_vmdk_json(struct json_object *object, const struct disk_facts *facts)
{
    const VixDiskLibExt_Link *top = &facts->details->links[0];
    struct json_object *specific = json_object_new_object();
    struct json_object *data = json_object_new_object();
    json_add_text(specific, "type", "vmdk");
    add_link_json(data, top);
    json_object_object_add(specific, "data", data);
    json_object_object_add(object, "format-specific", specific);
    if (top->parentHint != NULL) {
        json_add_text(object, "backing-filename", top->parentHint);
        json_add_text(object, "backing-filename-format", "vmdk");
    }
    if (facts->details->numLinks > 1) {
        json_add_text(object, "full-backing-filename", facts->details->links[1].file);
    }
    add_database_json(object, facts);
    json_object_object_add(object, "chain", chain_json(facts->details));
    json_add_number(object, "chain-actual-size", facts->details->allocatedBytes);
}

/** Of files on a server only the names are known, and the content ID of the top one. */
static void add_remote_chain_json(struct json_object *object, const VixDiskLibExt_Details *details)
{
    struct json_object *chain = json_object_new_array();
    for (uint32_t i = 0; i < details->numLinks; i++) {
        struct json_object *link = json_object_new_object();
        json_add_text(link, "filename", details->links[i].file);
        if (details->links[i].parentHint != NULL) {
            json_add_text(link, "backing-filename", details->links[i].parentHint);
        }
        if (details->links[i].cid != 0) {
            json_add_number(link, "cid", details->links[i].cid);
        }
        json_object_array_add(chain, link);
    }
    json_object_object_add(object, "chain", chain);
}

static void print_json(const struct disk_facts *facts)
{
    struct json_object *object = json_object_new_object();
    const VixDiskLibExt_Details *details = facts->details;
    json_add_number(object, "virtual-size", facts->info->capacity * SECTOR_BYTES);
    json_add_text(object, "filename", facts->path);
    if (details->numLinks > 0 && link_grain_bytes(&details->links[0]) != 0) {
        json_add_number(object, "cluster-size", link_grain_bytes(&details->links[0]));
    }
    json_add_text(object, "format", details->format);
    if (facts->transport != NULL) {
        json_add_text(object, "transport", facts->transport);
        json_add_number(object, "links", (uint64_t)facts->info->numLinks);
        add_database_json(object, facts);
        add_remote_chain_json(object, details);
    } else {
        json_add_number(object, "actual-size",
                        details->numLinks > 1 ? link_allocated_bytes(&details->links[0]) : details->allocatedBytes);
    }
    if (facts->transport == NULL && details->numLinks > 0) {
        add_vmdk_json(object, facts);
    }
    json_add_bool(object, "dirty-flag", false);
    json_print(object);
}

/* ---- for people ---- */

static void print_bytes(const char *name, uint64_t bytes)
{
    char text[HUMAN_BYTES_MAX];
    printf("%-14s%s (%" PRIu64 " bytes)\n", name, human_bytes(bytes, text), bytes);
}

static void print_extent(const VixDiskLibExt_Extent *extent)
{
    char size[HUMAN_BYTES_MAX];
    char taken[HUMAN_BYTES_MAX];
    printf("    %-3s %-11s %-10s  %s", or_empty(extent->access), or_empty(extent->type),
           human_bytes(extent->numSectors * SECTOR_BYTES, size), or_empty(extent->file));
    if (extent->file != NULL) {
        printf("  (%s on disk%s", human_bytes(extent->allocatedBytes, taken), extent->compressed ? ", compressed" : "");
        if (extent->offsetSectors != 0) {
            printf(", from sector %llu", (unsigned long long)extent->offsetSectors);
        }
        putchar(')');
    }
    putchar('\n');
}

static void print_link(uint32_t depth, const VixDiskLibExt_Link *link)
{
    printf("  [%u] %s\n", depth, link->file);
    printf("    %s, CID %08x", or_empty(link->createType), link->cid);
    if (link->parentCid != NO_PARENT) {
        printf(", parent CID %08x", link->parentCid);
    }
    if (link->parentHint != NULL) {
        printf(", parent %s", link->parentHint);
    }
    putchar('\n');
    if (link->changeTrackFile != NULL) {
        printf("    changes are tracked in %s\n", link->changeTrackFile);
    }
    for (uint32_t i = 0; i < link->numExtents; i++) {
        print_extent(&link->extents[i]);
    }
}

static void print_database(const struct disk_facts *facts)
{
    const VixDiskLibInfo *info = facts->info;
    printf("%-14s%u cylinders, %u heads, %u sectors\n", "geometry:", info->physGeo.cylinders, info->physGeo.heads,
           info->physGeo.sectors);
    printf("%-14s%s\n", "adapter:", adapter_name(info->adapterType));
    if (facts->hw_version != NULL) {
        printf("%-14s%s\n", "hardware:", facts->hw_version);
    }
    if (info->uuid != NULL) {
        printf("%-14s%s\n", "uuid:", info->uuid);
    }
}

static void print_vmdk(const struct disk_facts *facts)
{
    const VixDiskLibExt_Details *details = facts->details;
    uint64_t grain = link_grain_bytes(&details->links[0]);
    printf("%-14s%s%s\n", "type:", or_empty(details->links[0].createType), facts->thin ? ", thin" : "");
    if (grain != 0) {
        print_bytes("grain:", grain);
    }
    print_database(facts);
    printf("links:\n");
    for (uint32_t i = 0; i < details->numLinks; i++) {
        print_link(i, &details->links[i]);
    }
}

static void print_remote_links(const struct disk_facts *facts)
{
    const VixDiskLibExt_Details *details = facts->details;
    if (details->numLinks == 0) {
        printf("%-14s%d\n", "links:", facts->info->numLinks);
        return;
    }
    printf("links:\n");
    for (uint32_t i = 0; i < details->numLinks; i++) {
        printf("  [%u] %s\n", i, details->links[i].file);
        if (details->links[i].cid != 0) {
            printf("    CID %08x\n", details->links[i].cid);
        }
    }
}

static void print_human(const struct disk_facts *facts)
{
    printf("%-14s%s\n", "disk:", facts->path);
    printf("%-14s%s\n", "format:", facts->details->format);
    print_bytes("capacity:", facts->info->capacity * SECTOR_BYTES);
    if (facts->transport != NULL) {
        printf("%-14s%s%s\n", "transport:", facts->transport, facts->thin ? ", thin" : "");
        print_database(facts);
        print_remote_links(facts);
        return;
    }
    print_bytes("takes:", facts->details->allocatedBytes);
    if (facts->details->numLinks > 0) {
        print_vmdk(facts);
    }
}

/* ---- */

static int show(struct cli *cli, const char *path, VixDiskLibHandle disk)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLib_GetInfo(disk, &info);
    if (code == VIX_OK) {
        code = VixDiskLibExt_GetDetails(disk, &details);
    }
    if (code != VIX_OK) {
        int status = fail(cli, path, code);
        VixDiskLib_FreeInfo(info);
        return status;
    }
    struct disk_facts facts = {.path = path, .info = info, .details = details};
    if (is_remote_path(cli, path)) {
        facts.transport = VixDiskLib_GetTransportMode(disk);
    }
    if (details->numLinks > 0 || facts.transport != NULL) {
        char *thin = read_key(disk, "thinProvisioned");
        facts.thin = details->thin || (thin != NULL && strcmp(thin, "1") == 0);
        facts.hw_version = read_key(disk, "virtualHWVersion");
        free(thin);
    }
    if (cli->common.json) {
        print_json(&facts);
    } else {
        print_human(&facts);
    }
    free(facts.hw_version);
    VixDiskLibExt_FreeDetails(details);
    VixDiskLib_FreeInfo(info);
    return STATUS_DONE;
}

static int run(struct cli *cli, const void *data)
{
    const struct info_args *args = data;
    const char *path = cli->operands[0];
    uint32 flags = VIXDISKLIB_FLAG_OPEN_READ_ONLY;
    VixDiskLibHandle disk = NULL;
    flags |= args->single_link ? (uint32)VIXDISKLIB_FLAG_OPEN_SINGLE_LINK : 0;
    int status = open_disk(cli, path, args->format, flags, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    return close_disk(cli, path, disk, show(cli, path, disk));
}

const struct command command_info = {
    .name = "info",
    .usage = "PATH",
    .summary = "tell about a disk: capacity, type, links, extents",
    .details = "The JSON has the key names of qemu-img, and in \"chain\" every link from the top one down.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct info_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
