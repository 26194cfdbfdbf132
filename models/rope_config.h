/* rope_config.h - the rotary embedding that config.json describes.
 *
 * Layer: models. Both styles of the keys: rope_theta and rope_scaling, and rope_parameters.
 */
#ifndef MOE_MODELS_ROPE_CONFIG_H
#define MOE_MODELS_ROPE_CONFIG_H

#include "kernels/rope.h"
#include "sim/base/node.h"

enum { MOE_ROPE_MOST_DIVISORS = 512 };

/* How the blocks of one kind rotate. */
typedef struct {
    gint64 dim;             /* rotated elements of each head, even */
    MoeRopeScaling scaling; /* divisors apart */
    double scale;           /* of cosines and sines (yarn's attention factor) */
    double softmax_scale;   /* of the scores in latent attention (yarn's mscale_all_dim) */
    /* long: sequences longer than scaling.original use the second set, the others the first. */
    double divisors[2][MOE_ROPE_MOST_DIVISORS], long_scale;
} MoeRope;

/* What config.json says beside the maps that moe_rope_read() reads. NaN or 0: not given. */
typedef struct {
    double theta,
        partial; /* rope_theta, partial_rotary_factor; defaults of the family in the end */
    gint64 head_dim, original, context; /* original_max_position_embeddings, max_position_... */
    gint64 rotary_dim;                  /* older key for head_dim * partial */
} MoeRopeContext;

/* Reads rope_scaling or rope_parameters of @root; of the latter, the map under @kind (such as
 * "full_attention") where there is one. Errors: MOE_ERROR_INPUT. */
gboolean moe_rope_read(const MoeNode *root, const char *kind, const MoeRopeContext *context,
                       MoeRope *rope, GError **error);

/* Fills tables for positions below @M of the sequences shorter and (long RoPE: another) longer than
 * the original context. cos, sin [sets * M, dim/2], sets = moe_rope_sets(). */
size_t moe_rope_sets(const MoeRope *rope);
void moe_rope_fill(const MoeRope *rope, size_t M, float *cos_out, float *sin_out);

#endif
