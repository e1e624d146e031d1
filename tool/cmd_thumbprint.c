/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_thumbprint.c - shows the fingerprints of a server's certificate, to be compared with what its owner says. */
#include <json-c/json.h>
#include <stdio.h>

#include "commands.h"
#include "json.h"

#define HOST_BYTES 256

static void print_json(const char *host, uint32_t port, const char *sha1, const char *sha256)
{
    struct json_object *object = json_object_new_object();
    json_add_text(object, "host", host);
    json_add_number(object, "port", port);
    json_add_text(object, "sha1", sha1);
    json_add_text(object, "sha256", sha256);
    json_print(object);
}

static int run(struct cli *cli, const void *data)
{
    char host[HOST_BYTES];
    char sha1[60];
    char sha256[96];
    uint32_t port = 443;
    (void)data;
    if (!parse_host_port(cli->operands[0], host, sizeof host, &port)) {
        return usage_error(cli, "\"%s\" is not HOST or HOST:PORT", cli->operands[0]);
    }
    int status = cli_start(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLibExt_Thumbprint(host, port, 0, sha1, sizeof sha1, sha256, sizeof sha256);
    if (code != VIX_OK) {
        return fail(cli, NULL, code);
    }
    if (cli->common.json) {
        print_json(host, port, sha1, sha256);
    } else {
        printf("SHA-1    %s\nSHA-256  %s\n", sha1, sha256);
    }
    return STATUS_DONE;
}

const struct command command_thumbprint = {
    .name = "thumbprint",
    .usage = "HOST[:PORT]",
    .summary = "show the fingerprints of a server's certificate",
    .details = "Whoever answers is shown: compare with what the server's own console says before you give one of them\n"
               "as --thumbprint. Nothing is sent to the server but the greeting of TLS.",
    .groups = GROUP_DISKS | GROUP_JSON,
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
