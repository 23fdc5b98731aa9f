/* Where this runs: what reports say of the machine. */
#include "cli/cli.h"

#include <string.h>

static json_t *cpu_name(void) {
    char line[512], name[256] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !*name && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    if (f)
        fclose(f);
    return *name ? json_string(name) : json_null();
}

json_t *cli_machine_json(const cli_args *a) {
    return json_pack("{s:o,s:i,s:i,s:s}", "cpu", cpu_name(), "cpus", dt_cpu_count(), "threads", a->threads ? a->threads : dt_cpu_count(),
                     "kernel", duet_kernel_name());
}
