/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_hash.c - the digest of what a disk holds, whatever its type; a manifest of its chunks; and what differs from one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "hash.h"
#include "json.h"
#include "manifest.h"
#include "progress.h"
#include "text.h"
#include "whole_file.h"

#define CHUNK_DEFAULT (1u << 20)
#define DIFFERENCES_MAX 10000 /* that are listed */

enum { STATUS_SAME = 0, STATUS_DIFFER = 1, STATUS_TROUBLE = 2 };

struct hash_args {
    enum disk_format format;
    struct bytes_arg chunk;
    struct number_arg threads;
    const char *manifest;
    const char *check;
};

static const struct option_spec options[] = {
    {.name = "chunk",
     .kind = OPTION_SECTORS,
     .at = offsetof(struct hash_args, chunk),
     .arg = "SIZE",
     .help = "size of a chunk, 4K to 64M (default: 1M, with --check that of the manifest)"},
    {.name = "manifest",
     .kind = OPTION_TEXT,
     .at = offsetof(struct hash_args, manifest),
     .arg = "FILE",
     .help = "write the digest of each chunk to FILE"},
    {.name = "check",
     .kind = OPTION_TEXT,
     .at = offsetof(struct hash_args, check),
     .arg = "FILE",
     .help = "tell where the disk differs from the manifest FILE"},
    {.name = "threads",
     .letter = 'j',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct hash_args, threads),
     .arg = "N",
     .help = "threads (default: one for each core)",
     .low = 1,
     .high = HASH_THREADS_MAX},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct hash_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.kind = OPTION_END},
};

/** What a run works on. */
struct hashing {
    struct cli *cli;
    const char *path;
    uint64_t bytes;
    uint32_t chunk;
    struct progress progress;
    struct whole_file out; /* --manifest */
    FILE *in;              /* --check */
    struct manifest_reader reader;
    struct json_object *list; /* differences, for --json */
    uint64_t listed;
    uint64_t different_bytes;
    uint64_t from, to; /* the difference that may still grow */
};

/* ---- differences ---- */

static void end_difference(struct hashing *h)
{
    if (h->from == h->to) {
        return;
    }
    if (h->listed < DIFFERENCES_MAX && h->list != NULL) {
        struct json_object *object = json_object_new_object();
        json_add_number(object, "start", h->from);
        json_add_number(object, "length", h->to - h->from);
        json_object_array_add(h->list, object);
    } else if (h->listed < DIFFERENCES_MAX && !h->cli->common.quiet) {
        progress_end(&h->progress);
        printf("differs: %" PRIu64 " bytes at %" PRIu64 "\n", h->to - h->from, h->from);
    }
    h->listed++;
    h->from = h->to;
}

static void chunk_differs(struct hashing *h, uint64_t index)
{
    uint64_t off = index * h->chunk;
    uint64_t end = h->bytes - off < h->chunk ? h->bytes : off + h->chunk;
    if (off != h->to) {
        end_difference(h);
        h->from = off;
    }
    h->to = end;
    h->different_bytes += end - off;
}

/** Chunks that the manifest has before a chunk are zeros on the disk. */
static void skip_entries(struct hashing *h, uint64_t before)
{
    while (h->reader.has_entry && h->reader.index < before) {
        chunk_differs(h, h->reader.index);
        manifest_next(&h->reader);
    }
}

/** A hash_chunk_func. */
static bool take_chunk(void *data, uint64_t index, const uint8_t digest[DIGEST_BYTES])
{
    struct hashing *h = data;
    if (h->out.to != NULL) {
        manifest_add(h->out.to, index * h->chunk, digest);
    }
    if (h->in == NULL) {
        return true;
    }
    skip_entries(h, index);
    bool has = h->reader.has_entry && h->reader.index == index;
    if (!has || memcmp(h->reader.digest, digest, DIGEST_BYTES) != 0) {
        chunk_differs(h, index);
    }
    if (has) {
        manifest_next(&h->reader);
    }
    return h->reader.wrong == NULL;
}

static bool take_progress(void *data, uint64_t done_bytes)
{
    struct hashing *h = data;
    return progress_step(&h->progress, done_bytes, h->bytes);
}

/* ---- results ---- */

static void print_json(const struct hashing *h, const struct hash_job *job, const char *digest)
{
    struct json_object *object = json_object_new_object();
    json_add_text(object, "filename", h->path);
    json_add_number(object, "virtual-size", h->bytes);
    json_add_text(object, "algorithm", "sha256");
    json_add_number(object, "chunk-size", h->chunk);
    json_add_text(object, "digest", digest);
    json_add_number(object, "data-chunks", job->data_chunks);
    json_add_number(object, "read-bytes", job->read_bytes);
    if (h->in != NULL) {
        json_add_bool(object, "identical", h->different_bytes == 0);
        json_add_number(object, "different-bytes", h->different_bytes);
        json_object_object_add(object, "differences", json_object_get(h->list));
    }
    json_print(object);
}

/** Prints the digest, or the verdict. */
static void print_result(const struct hashing *h, const struct hash_job *job)
{
    char digest[DIGEST_TEXT];
    digest_format(job->digest, digest);
    if (h->cli->common.json) {
        print_json(h, job, digest);
    } else if (h->in == NULL) {
        printf("sha256-%" PRIu32 ":%s  %s\n", h->chunk, digest, h->path);
    } else if (!h->cli->common.quiet) {
        if (h->listed > DIFFERENCES_MAX) {
            printf("... %" PRIu64 " more differences\n", h->listed - DIFFERENCES_MAX);
        }
        printf("%s %s the manifest", h->path, h->different_bytes == 0 ? "is as in" : "differs from");
        printf(h->different_bytes == 0 ? "\n" : ": %" PRIu64 " bytes in chunks that differ\n", h->different_bytes);
    }
}

static int report_manifest(const struct hashing *h, const char *path)
{
    return fail_with(h->cli, path, VIX_E_INVALID_ARG, "line %u %s", h->reader.line, h->reader.wrong);
}

/* ---- the run ---- */

static unsigned thread_count(const struct hash_args *args)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (args->threads.given) {
        return args->threads.value;
    }
    return cores < 1 ? 1 : cores > (long)HASH_THREADS_MAX ? HASH_THREADS_MAX : (unsigned)cores;
}

static int finish(struct hashing *h, const struct hash_args *args, const struct hash_job *job)
{
    if (h->in != NULL) {
        skip_entries(h, UINT64_MAX);
        end_difference(h);
        if (!manifest_close(&h->reader)) {
            return report_manifest(h, args->check);
        }
    }
    if (h->out.to != NULL) {
        manifest_end(h->out.to, job->digest);
        int status = whole_file_finish(h->cli, &h->out);
        if (status != STATUS_DONE) {
            return status;
        }
    }
    print_result(h, job);
    return h->different_bytes == 0 ? STATUS_SAME : STATUS_DIFFER;
}

static int hash_it(struct hashing *h, const struct hash_args *args, VixDiskLibHandle disk)
{
    struct hash_job job = {
        .disk = disk,
        .bytes = h->bytes,
        .chunk = h->chunk,
        .threads = thread_count(args),
        .func = take_chunk,
        .progress = take_progress,
        .data = h,
    };
    progress_init(&h->progress, h->cli);
    VixError code = hash_disk(&job);
    if (code == VIX_OK) {
        (void)progress_step(&h->progress, h->bytes, h->bytes);
    }
    progress_end(&h->progress);
    if (h->reader.wrong != NULL) {
        return report_manifest(h, args->check);
    }
    if (code != VIX_OK) {
        return stop_status(fail_with(h->cli, h->path, code, "%s", job.detail));
    }
    return finish(h, args, &job);
}

/** A disk of another size is another disk; nothing of it is read. */
static int report_capacity(const struct hashing *h, const char *manifest)
{
    if (h->cli->common.json) {
        struct json_object *object = json_object_new_object();
        json_add_text(object, "filename", h->path);
        json_add_number(object, "virtual-size", h->bytes);
        json_add_number(object, "virtual-size-manifest", h->reader.bytes);
        json_add_bool(object, "identical", false);
        json_print(object);
    } else if (!h->cli->common.quiet) {
        printf("capacities differ: %s has %" PRIu64 " bytes, %s tells of %" PRIu64 "\n", h->path, h->bytes, manifest,
               h->reader.bytes);
    }
    return STATUS_DIFFER;
}

/** Goes through the whole manifest before anything is said by it, and to its first entry. */
static int prove_manifest(struct hashing *h, const char *path)
{
    manifest_next(&h->reader);
    if (!manifest_close(&h->reader)) {
        return report_manifest(h, path);
    }
    if (fseek(h->in, 0, SEEK_SET) != 0) {
        return fail_errno(h->cli, path, errno, "it is read twice, and cannot be");
    }
    if (manifest_open(&h->reader, h->in)) {
        manifest_next(&h->reader);
    }
    return h->reader.wrong == NULL ? STATUS_DONE : report_manifest(h, path);
}

/** Opens the disk, now that the size of the chunks is known. */
static int hash_path(struct hashing *h, const struct hash_args *args)
{
    VixDiskLibHandle disk = NULL;
    int status = open_disk(h->cli, h->path, args->format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    if (status == STATUS_DONE) {
        status = disk_bytes(h->cli, h->path, disk, &h->bytes);
    }
    if (status == STATUS_DONE && h->in != NULL && h->reader.bytes != h->bytes) {
        status = report_capacity(h, args->check);
    } else if (status == STATUS_DONE) {
        if (h->in != NULL) {
            status = prove_manifest(h, args->check);
        }
        if (status == STATUS_DONE && args->manifest != NULL) {
            status = whole_file_open(h->cli, args->manifest, &h->out);
        }
        if (h->out.to != NULL) {
            manifest_begin(h->out.to, h->bytes, h->chunk);
        }
        status = status == STATUS_DONE ? hash_it(h, args, disk) : status;
    }
    if (disk != NULL) {
        VixDiskLib_Close(disk);
    }
    return status;
}

/** Takes the size of the chunks from the manifest. -1 to go on, else a status. */
static int open_check(struct hashing *h, const struct hash_args *args)
{
    if (args->chunk.given) {
        return usage_error(h->cli, "--chunk: with --check it is that of the manifest");
    }
    h->in = fopen(args->check, "re");
    if (h->in == NULL) {
        return fail_errno(h->cli, args->check, errno, "cannot be opened");
    }
    if (!manifest_open(&h->reader, h->in)) {
        return report_manifest(h, args->check);
    }
    h->chunk = h->reader.chunk;
    h->list = h->cli->common.json ? json_object_new_array() : NULL;
    return -1;
}

static int run(struct cli *cli, const void *data)
{
    const struct hash_args *args = data;
    struct hashing h = {.cli = cli, .path = cli->operands[0], .chunk = CHUNK_DEFAULT};
    if (args->chunk.given && (args->chunk.bytes < HASH_CHUNK_MIN || args->chunk.bytes > HASH_CHUNK_MAX)) {
        return usage_error(cli, "--chunk: %" PRIu64 " is not within 4K to 64M", args->chunk.bytes);
    }
    if (args->chunk.given) {
        h.chunk = (uint32_t)args->chunk.bytes;
    }
    stop_catch_signals();
    int status = args->check != NULL ? open_check(&h, args) : -1;
    if (status < 0) {
        status = hash_path(&h, args);
    }
    if (h.in != NULL) {
        (void)manifest_close(&h.reader);
        fclose(h.in);
    }
    whole_file_drop(&h.out);
    json_object_put(h.list);
    return status;
}

const struct command command_hash = {
    .name = "hash",
    .usage = "PATH",
    .summary = "print a digest of the contents of a disk",
    .details =
        "The same contents have the same digest in every type, raw images too. It is the SHA-256 of the SHA-256s of\n"
        "all chunks, so that it can be made on all cores and holes are not read; of a raw image it is\n"
        "  split -b 1M --filter='sha256sum | cut -c 1-64' disk.img | xxd -r -p | sha256sum\n"
        "Digests of chunks of different sizes differ. Exit status: 0 done, or as in the manifest; 1 it differs;\n"
        "2 trouble.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct hash_args),
    .min_operands = 1,
    .max_operands = 1,
    .usage_status = STATUS_TROUBLE,
    .trouble_status = STATUS_TROUBLE,
    .run = run,
};
