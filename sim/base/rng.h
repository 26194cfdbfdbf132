/* rng.h - reproducible random numbers with named sub-streams.
 *
 * Layer: sim/base. A stream is GLib's Mersenne Twister, seeded by the SHA-256 of "seed/name": two
 * streams of one seed are independent, and adding a consumer never shifts the numbers of another.
 * Same seed and name, same numbers, on every machine.
 */
#ifndef MOE_BASE_RNG_H
#define MOE_BASE_RNG_H

#include <glib.h>

/* Opens the sub-stream @name of @seed. Free with g_rand_free(). Not for sharing between threads. */
GRand *moe_rng_new(guint64 seed, const char *name);

/* A standard normal variate (Box-Muller, two draws each). */
double moe_rng_normal(GRand *rng);

#endif
