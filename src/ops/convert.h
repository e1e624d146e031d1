/* SPDX-License-Identifier: BSD-3-Clause */
/* convert.h - the parts of ops_convert. Inside src/ops. */
#ifndef VIXDISK_OPS_CONVERT_H
#define VIXDISK_OPS_CONVERT_H

#include "ops/ops.h"
#include "ops/walk.h"
#include "vmdk/stream_writer.h"

/** Writes src to target->fd from front to end: raw with all its zeros, or as a streamOptimized file. */
VixError convert_to_fd(struct disk *src, const struct convert_target *target, struct progress_meter *meter,
                       struct err *err);

/** Writes src as a streamOptimized file. */
VixError convert_to_stream(struct disk *src, const struct create_params *params, const struct chain_tuning *tuning,
                           const struct stream_sink *sink, struct progress_meter *meter, struct err *err);

#endif
