/* From options to how a remote model is asked. */
#include "cli/cli.h"

#include <stdlib.h>

/* The key itself never stands on a command line, where others on the machine could read it. */
static duet_status key_of(const char *option, const char *name, const char **key, duet_err *err) {
    *key = NULL;
    if (!name)
        return DUET_OK;
    *key = getenv(name);
    return *key && **key ? DUET_OK
                         : dt_fail(err, DUET_E_USAGE, "--%s: there is no environment variable %s, or it is empty", option, name);
}

duet_status cli_remote_options(const cli_args *a, char side, duet_remote_options *out, duet_err *err) {
    const char *own = side == 'M' ? a->M_key_env : a->m_key_env;
    const char *fields = side == 'M' ? a->M_fields : a->m_fields;
    *out = (duet_remote_options){.fields = fields,
                                 .connect_s = a->connect_timeout,
                                 .first_s = a->first_timeout,
                                 .idle_s = a->idle_timeout,
                                 .total_s = a->answer_timeout,
                                 .tries = a->tries,
                                 .parallel = a->parallel,
                                 .cancel = cli_cancel()};
    return own ? key_of(side == 'M' ? "M-key-env" : "m-key-env", own, &out->key, err)
               : key_of("key-env", a->key_env, &out->key, err);
}
