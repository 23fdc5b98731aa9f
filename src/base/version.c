/* The library's version at run time. */
#include "duet/duet.h"

const char *duet_version(void) {
    return DUET_VERSION;
}
