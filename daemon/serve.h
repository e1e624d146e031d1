/* SPDX-License-Identifier: BSD-3-Clause */
/* serve.h - the host from its configuration to its end. */
#ifndef VIXDISKD_SERVE_H
#define VIXDISKD_SERVE_H

#include "nfc/server.h"

/** Runs until SIGTERM or SIGINT. @knobs zeros, but in tests; @test_tickets as in struct host. */
VixError serve(const char *config_path, const struct nfc_test_knobs *knobs, const char *test_tickets, struct err *err);

/** Reads the configuration and opens what it names, without serving. */
VixError serve_check(const char *config_path, struct err *err);

#endif
