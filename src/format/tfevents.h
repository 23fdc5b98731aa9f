/* TensorBoard event files: scalars only.
 *
 * Record: u64 length | u32 masked CRC-32C of the length | bytes | u32 masked CRC-32C of the bytes
 * Bytes: a protobuf `Event` { double wall_time = 1; int64 step = 2; string file_version = 3;
 *        Summary summary = 5 { Value value = 1 { string tag = 1; float simple_value = 2 } } } */
#ifndef DT_TFEVENTS_H
#define DT_TFEVENTS_H

#include "base/base.h"

typedef struct dt_tfevents dt_tfevents;

duet_status dt_tfevents_open(const char *dir, dt_tfevents **out, duet_err *err); /* a new file in dir */
duet_status dt_tfevents_scalars(dt_tfevents *t, int64_t step, double wall_time, const char *const *tags,
                                const double *values, size_t n, duet_err *err); /* flushed */
void dt_tfevents_close(dt_tfevents *t);
uint32_t dt_crc32c(const void *p, size_t n);

#endif
