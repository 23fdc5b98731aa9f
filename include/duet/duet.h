/* Everything libduet offers. */
#ifndef DUET_DUET_H
#define DUET_DUET_H

#include "duet/backend.h"
#include "duet/convert.h"
#include "duet/engine.h"
#include "duet/eval.h"
#include "duet/grade.h"
#include "duet/grammar.h"
#include "duet/inspect.h"
#include "duet/model.h"
#include "duet/pair.h"
#include "duet/serve.h"
#include "duet/status.h"
#include "duet/store.h"
#include "duet/task.h"
#include "duet/text.h"
#include "duet/train.h"

#define DUET_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

const char *duet_version(void); /* the library's, at run time */

#ifdef __cplusplus
}
#endif
#endif
