/* Counter-based random numbers (Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011) and a stable 64-bit hash. */
#include "base/base.h"

#include <math.h>
#include <string.h>

void dt_philox(uint64_t seed, uint64_t stream, uint64_t ctr, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)ctr, c1 = (uint32_t)(ctr >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static double unit53(uint32_t hi, uint32_t lo) {
    return (double)(((uint64_t)hi << 32 | lo) >> 11) * 0x1p-53;
}

double dt_rng_at(uint64_t seed, uint64_t stream, uint64_t ctr) {
    uint32_t w[4];
    dt_philox(seed, stream, ctr, w);
    return unit53(w[0], w[1]);
}

dt_rng dt_rng_make(uint64_t seed, uint64_t stream) {
    return (dt_rng){.seed = seed, .stream = stream};
}

uint32_t dt_rng_u32(dt_rng *r) {
    if (!r->left) {
        dt_philox(r->seed, r->stream, r->ctr++, r->out);
        r->left = 4;
    }
    return r->out[4 - r->left--];
}

uint32_t dt_rng_below(dt_rng *r, uint32_t n) {
    uint32_t limit = (uint32_t)(-n) % n; /* 2^32 mod n: words below it would be biased */
    for (;;) {
        uint32_t x = dt_rng_u32(r);
        if (x >= limit) return x % n;
    }
}

double dt_rng_uniform(dt_rng *r) {
    uint32_t hi = dt_rng_u32(r);
    return unit53(hi, dt_rng_u32(r));
}

double dt_rng_normal(dt_rng *r) {
    double u = 1.0 - dt_rng_uniform(r), v = dt_rng_uniform(r); /* Box-Muller; u in (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925286766559 * v);
}

/* FNV-1a over bytes, then the finaliser of splitmix64 so that all output bits are usable. */
uint64_t dt_hash64(const void *p, size_t n, uint64_t seed) {
    const uint8_t *b = p;
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    h ^= h >> 30;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}
