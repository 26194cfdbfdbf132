#include "config.h"

#include "sim/base/rng.h"

#include <math.h>
#include <string.h>

GRand *moe_rng_new(guint64 seed, const char *name)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "/%s", seed, name);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, (const guchar *)text, -1);
    guint8 digest[32];
    gsize length = sizeof(digest);
    g_checksum_get_digest(sum, digest, &length);
    guint32 words[8];
    for (int i = 0; i < 8; i++)
        words[i] = (guint32)digest[4 * i] | (guint32)digest[4 * i + 1] << 8 |
                   (guint32)digest[4 * i + 2] << 16 | (guint32)digest[4 * i + 3] << 24;
    return g_rand_new_with_seed_array(words, G_N_ELEMENTS(words));
}

double moe_rng_normal(GRand *rng)
{
    double u = 1 - g_rand_double(rng); /* in (0, 1]: its logarithm is finite */
    double v = g_rand_double(rng);
    return sqrt(-2 * log(u)) * cos(2 * G_PI * v);
}
