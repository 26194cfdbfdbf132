#include "config.h"

#include "sim/placement.h"

static guint32 contiguous(gint64 expert, gint64 n_experts, gint64 n_ranks)
{
    return (guint32)(expert / (n_experts / n_ranks));
}

static const struct {
    const char *name;
    guint32 (*rank_of)(gint64 expert, gint64 n_experts, gint64 n_ranks);
} kinds[] = {
    {"contiguous", contiguous},
};

const char *const *moe_placement_names(void)
{
    static const char *names[G_N_ELEMENTS(kinds) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        names[i] = kinds[i].name;
    return names;
}

MoePlacement *moe_placement_new(int kind, gint64 n_experts, gint64 n_ranks, GError **error)
{
    if (n_ranks < 1 || n_experts % n_ranks != 0) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%" G_GINT64_FORMAT " experts cannot be divided evenly among %" G_GINT64_FORMAT
                 " ranks; choose a number of ranks that divides %" G_GINT64_FORMAT,
                 n_experts, n_ranks, n_experts);
        return NULL;
    }
    MoePlacement *placement = g_new0(MoePlacement, 1);
    placement->n_experts = n_experts;
    placement->n_ranks = n_ranks;
    placement->rank_of = g_new(guint32, n_experts);
    for (gint64 e = 0; e < n_experts; e++)
        placement->rank_of[e] = kinds[kind].rank_of(e, n_experts, n_ranks);
    return placement;
}

void moe_placement_free(MoePlacement *placement)
{
    if (placement == NULL)
        return;
    g_free(placement->rank_of);
    g_free(placement);
}
