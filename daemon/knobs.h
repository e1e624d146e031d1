/* SPDX-License-Identifier: BSD-3-Clause */
/* knobs.h - --test-knob NAME=VALUE: how old a host to act as, and what to do wrong. For tests of clients only. */
#ifndef VIXDISKD_KNOBS_H
#define VIXDISKD_KNOBS_H

#include "nfc/server.h"

/** Sets one from "name" or "name=value". VIX_E_INVALID_ARG with the names that there are. */
VixError knobs_set(struct nfc_test_knobs *knobs, const char *text, struct err *err);

/** A knob for each line, for --help. */
const char *knobs_list(void);

#endif
