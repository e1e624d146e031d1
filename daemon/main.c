/* SPDX-License-Identifier: BSD-3-Clause */
/* vixdiskd - serves folders of VMDKs as the datastores of a vSphere host. Here is the command line. */
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "daemon/confine.h"
#include "daemon/knobs.h"
#include "daemon/log.h"
#include "daemon/serve.h"
#include "daemon/setup.h"

#define CONFIG_PATH "/var/lib/vixdiskd/vixdiskd.conf"

enum option_id {
    OPT_CONFIG = 256,
    OPT_INIT,
    OPT_NAME,
    OPT_LISTEN,
    OPT_PORT,
    OPT_NFC_PORT,
    OPT_USER,
    OPT_ADD_USER,
    OPT_READ_ONLY,
    OPT_HASH_PASSWORD,
    OPT_CHECK,
    OPT_DROP_IN,
    OPT_TEST_KNOB,
    OPT_TEST_TICKETS,
    OPT_VERSION,
    OPT_HELP,
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"init", required_argument, NULL, OPT_INIT},
    {"name", required_argument, NULL, OPT_NAME},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port", required_argument, NULL, OPT_PORT},
    {"nfc-port", required_argument, NULL, OPT_NFC_PORT},
    {"user", required_argument, NULL, OPT_USER},
    {"add-user", required_argument, NULL, OPT_ADD_USER},
    {"read-only", no_argument, NULL, OPT_READ_ONLY},
    {"hash-password", no_argument, NULL, OPT_HASH_PASSWORD},
    {"check", no_argument, NULL, OPT_CHECK},
    {"drop-in", no_argument, NULL, OPT_DROP_IN},
    {"test-knob", required_argument, NULL, OPT_TEST_KNOB},
    {"test-tickets", required_argument, NULL, OPT_TEST_TICKETS},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "usage: vixdiskd [--config FILE]\n"
    "       vixdiskd --init FOLDER [--name HOST] [--listen ADDRESS] [--port N] [--nfc-port N] [--user USER]\n"
    "       vixdiskd --add-user USER [--read-only] [--config FILE]\n"
    "       vixdiskd --check | --drop-in [--config FILE]\n"
    "       vixdiskd --hash-password | --version | --help\n"
    "\n"
    "Serves folders of VMDKs as the datastores of a vSphere host, to VixDiskLib and other clients of NFC.\n"
    "\n"
    "  --config FILE       the configuration, in the place of " CONFIG_PATH "\n"
    "  --init FOLDER       makes a set-up that works: configuration, certificate, user, datastore with one disk\n"
    "  --name HOST         name or address that clients know the host by\n"
    "  --listen ADDRESS    of one interface only\n"
    "  --port N            HTTPS; 0: a free one, told when it is listening\n"
    "  --nfc-port N        NFC; 0: a free one\n"
    "  --user USER         whom the host becomes when root starts it; else " CONFINE_USER ", if there is one\n"
    "  --add-user USER     adds a user to the configuration; the password is the first line of standard input\n"
    "  --read-only         the new user may only read\n"
    "  --hash-password     prints the hash of the password on standard input\n"
    "  --check             reads the configuration and opens what it names\n"
    "  --drop-in           prints a drop-in of systemd, with which vixdiskd.service runs the configuration\n"
    "  --test-knob NAME[=N]  for tests of clients: act as an older host, or do something wrong\n"
    "  --test-tickets FILE   for tests of clients: take the tickets that a simulator of vSphere writes to FILE\n";

/** The command line, taken apart. */
struct command {
    const char *config;
    const char *add_user;
    bool read_only, hash_password, check, drop_in, version, help;
    struct setup_params setup;
    struct nfc_test_knobs knobs;
    const char *test_tickets;
};

static VixError take_port(const char *text, int *ret_port, struct err *err)
{
    uint64_t number;

    if (!text_to_u64(text, &number) || number > 65535) {
        return err_set(err, VIX_E_INVALID_ARG, "a port of \"%.20s\", allowed: 0 to 65535", text);
    }
    *ret_port = (int)number;
    return VIX_OK;
}

static VixError take_option(struct command *c, int option, const char *value, struct err *err)
{
    switch (option) {
    case OPT_CONFIG:
        c->config = value;
        return VIX_OK;
    case OPT_INIT:
        c->setup.folder = value;
        return VIX_OK;
    case OPT_NAME:
        c->setup.name = value;
        return VIX_OK;
    case OPT_LISTEN:
        c->setup.listen = value;
        return VIX_OK;
    case OPT_PORT:
        return take_port(value, &c->setup.port, err);
    case OPT_NFC_PORT:
        return take_port(value, &c->setup.nfc_port, err);
    case OPT_USER:
        c->setup.user = value;
        return VIX_OK;
    case OPT_ADD_USER:
        c->add_user = value;
        return VIX_OK;
    case OPT_READ_ONLY:
        c->read_only = true;
        return VIX_OK;
    case OPT_HASH_PASSWORD:
        c->hash_password = true;
        return VIX_OK;
    case OPT_CHECK:
        c->check = true;
        return VIX_OK;
    case OPT_DROP_IN:
        c->drop_in = true;
        return VIX_OK;
    case OPT_TEST_KNOB:
        return knobs_set(&c->knobs, value, err);
    case OPT_TEST_TICKETS:
        c->test_tickets = value;
        return VIX_OK;
    case OPT_VERSION:
        c->version = true;
        return VIX_OK;
    case OPT_HELP:
        c->help = true;
        return VIX_OK;
    default:
        return err_set(err, VIX_E_INVALID_ARG, "see vixdiskd --help");
    }
}

static VixError take_command(int argc, char **argv, struct command *c, struct err *err)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        VixError code = take_option(c, option, optarg, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    if (optind < argc) {
        return err_set(err, VIX_E_INVALID_ARG, "\"%.60s\" is no option; see vixdiskd --help", argv[optind]);
    }
    return VIX_OK;
}

static VixError run(const struct command *c, struct err *err)
{
    if (c->help) {
        (void)printf("%s\nKnobs: %s\n", help, knobs_list());
        return VIX_OK;
    }
    if (c->version) {
        (void)puts("vixdiskd " VIXDISK_VERSION);
        return VIX_OK;
    }
    if (c->setup.folder != NULL) {
        return setup_init(&c->setup, err);
    }
    if (c->hash_password) {
        return setup_hash_password(err);
    }
    if (c->add_user != NULL) {
        return setup_add_user(c->config, c->add_user, c->read_only, err);
    }
    if (c->drop_in) {
        return setup_drop_in(c->config, err);
    }
    host_log_begin();
    return c->check ? serve_check(c->config, err) : serve(c->config, &c->knobs, c->test_tickets, err);
}

/** The C library keeps a heap for each of up to eight times as many threads as there are cores, each with holes of its
 * own: with a thread for each connection that is most of the memory of a host that runs for long. */
#define HEAPS 2

int main(int argc, char **argv)
{
    struct command c = {.config = CONFIG_PATH, .setup = {.port = -1, .nfc_port = -1}};
    struct err err;

    (void)mallopt(M_ARENA_MAX, HEAPS);
    err_init(&err);
    VixError code = take_command(argc, argv, &c, &err);
    bool understood = code == VIX_OK;
    if (understood) {
        code = run(&c, &err);
    }
    if (code != VIX_OK) {
        (void)fprintf(stderr, "vixdiskd: %s\n", err.text);
        return understood ? EXIT_FAILURE : 2;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
