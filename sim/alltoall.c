#include "config.h"

#include "sim/alltoall.h"

static const MoeAllToAllKind *const kinds[] = {
    &moe_alltoall_direct,
    &moe_alltoall_pairwise,
};

const char *const *moe_alltoall_names(void)
{
    static const char *names[G_N_ELEMENTS(kinds) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        names[i] = kinds[i]->name;
    return names;
}

const MoeAllToAllKind *moe_alltoall_kind(int index)
{
    return kinds[index];
}

void moe_alltoall_send(const MoeAllToAll *job, MoePrograms *programs, gint64 from, gint64 to)
{
    gint64 bytes = job->bytes[from * programs->n_ranks + to];
    if (from != to && bytes > 0)
        moe_programs_send(programs, from, to, moe_topology_fabric(job->topology, from, to), bytes);
}
