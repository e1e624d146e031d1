/* SPDX-License-Identifier: BSD-3-Clause */
/* datastore.c - where a datastore is: the LUNs of one that is VMFS. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "vim/vim_int.h"

#define MAX_PARTITION 1024u /* limit: number of a partition of a datastore */

static size_t count_extents(const struct xml_node *vmfs)
{
    size_t count = 0;

    for (const struct xml_node *e = xml_child(vmfs, "extent"); e != NULL; e = xml_next(e)) {
        count++;
    }
    return count;
}

static VixError fill_extents(struct vim_session *s, struct vim_datastore *d, const struct xml_node *vmfs,
                             struct err *err)
{
    d->extents = alloc_array(count_extents(vmfs), sizeof *d->extents, err);
    if (d->extents == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (const struct xml_node *e = xml_child(vmfs, "extent"); e != NULL; e = xml_next(e)) {
        struct vim_extent *extent = &d->extents[d->extent_count];
        const char *name = xml_text(e, "diskName");
        uint64_t partition = 0;
        if (name == NULL || (xml_number(e, "partition", &partition) && partition > MAX_PARTITION)) {
            return err_set(err, VIX_E_INVALID_XML, "%s: an extent of a datastore without a name, or of partition %llu",
                           vim_peer(s), (unsigned long long)partition);
        }
        if (!vim_copy_text(name, &extent->disk, err)) {
            return VIX_E_OUT_OF_MEMORY;
        }
        extent->partition = (unsigned)partition;
        d->extent_count++;
    }
    return VIX_OK;
}

static VixError fill_datastore(struct vim_session *s, struct vim_datastore *d, const struct xml_node *info,
                               struct err *err)
{
    const struct xml_node *vmfs = xml_child(info, "vmfs");

    if (!vim_copy_text(info != NULL ? info->type : NULL, &d->info_type, err) ||
        !vim_copy_text(xml_text(vmfs, "uuid"), &d->vmfs_uuid, err)) {
        return VIX_E_OUT_OF_MEMORY;
    }
    return fill_extents(s, d, vmfs, err);
}

VixError vim_read_datastore(struct vim_session *s, const char *moref, struct vim_datastore **ret_datastore,
                            struct err *err)
{
    static const char *const path[] = {"info"};
    const struct xml_node *object = NULL;
    struct vim_reply reply;
    struct vim_datastore *d = NULL;

    VixError code = vim_properties(s, "Datastore", moref, path, 1, &reply, &object, err);
    if (code == VIX_OK) {
        d = alloc_zero(sizeof *d, err);
        code = d != NULL ? fill_datastore(s, d, object != NULL ? vim_property(object, "info") : NULL, err)
                         : VIX_E_OUT_OF_MEMORY;
    }
    vim_reply_free(&reply);
    if (code != VIX_OK) {
        vim_datastore_free(d);
        return code;
    }
    *ret_datastore = d;
    return VIX_OK;
}

void vim_datastore_free(struct vim_datastore *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < d->extent_count; i++) {
        free(d->extents[i].disk);
    }
    free(d->extents);
    free(d->info_type);
    free(d->vmfs_uuid);
    free(d);
}
