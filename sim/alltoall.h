/* alltoall.h - all-to-all algorithms: which rank sends what to whom, and when.
 *
 * Layer: sim. An algorithm turns counts of tokens into exchanges of programs. It is written once, as
 * a dispatch; a combine runs it backwards: every message from b to a instead of a to b, the last
 * stage first. A new algorithm is one file and one row of the table in alltoall.c.
 */
#ifndef MOE_SIM_ALLTOALL_H
#define MOE_SIM_ALLTOALL_H

#include "sim/kernels.h"
#include "sim/program.h"

typedef enum { MOE_PADDING_NONE, MOE_PADDING_EXPERT, MOE_PADDING_RANK } MoePadding;
typedef enum { MOE_LOCAL_SCALE_UP, MOE_LOCAL_SCALE_OUT } MoeLocal;

/* Dispatch or combine of a scenario. What its algorithm does not take is as if it were not there. */
typedef struct {
    int algorithm; /* of moe_alltoall_names() */
    int dtype;     /* MoeType on the wire */
    gboolean deduplicate;
    gint64 window, chunks;  /* 0: not given */
    int local;              /* MoeLocal */
    int padding;            /* MoePadding */
    double capacity_factor; /* NaN: as large as the fullest buffer needs */
} MoeTransfer;

/* Which keys of MoeTransfer an algorithm takes, beside algorithm and dtype. */
enum {
    MOE_TAKES_DEDUPLICATE = 1,
    MOE_TAKES_WINDOW = 2,
    MOE_TAKES_CHUNKS = 4,
    MOE_TAKES_LOCAL = 8,
    MOE_TAKES_PADDING = 16, /* and capacity_factor */
};

typedef struct MoeAllToAll MoeAllToAll;

typedef struct {
    const char *name;
    const char *summary; /* one line */
    guint takes;
    gboolean unique;   /* sends a token once per GPU, whatever deduplicate says */
    gboolean forwards; /* ranks pass on what is for others */
    gint64 chunks;     /* of its pipeline, by default */
    /* Operations that it appends to every rank; @once: a pair of ranks meets in at most one of them.
     * What memory is checked by. */
    gint64 (*exchanges)(const MoeTransfer *transfer, gint64 n_ranks);
    gboolean once;
    void (*lower)(MoeAllToAll *job);
} MoeAllToAllKind;

/* What is sent. Rank r runs on GPU r. */
struct MoeAllToAll {
    const MoeTopology *topology;
    const MoeTransfer *transfer;
    MoePhase phase;
    gboolean back; /* a combine */
    MoeKernelCost cost;
    gint64 token_bytes; /* of one copy of a token on the wire */
    /* [ranks, ranks]: copies of tokens from their home (row) to the rank of their experts; the
     * diagonal does not travel. */
    const gint64 *copies;
    /* [ranks, nodes]: tokens of a home rank that some rank of the node gets; for the algorithms that
     * send a token once per node, else NULL. */
    const gint64 *nodes;
    gint64 n_nodes;
    MoePrograms *programs;

    /* Filled by moe_alltoall_lower(), [ranks], copies: that a rank sends of its own, that it sends on
     * for others, that arrive where they are computed (back: were computed). Caller's; or NULL. */
    gint64 *own, *forwarded, *delivered;

    /* Of the algorithms: which part of the chunks is being sent, what went wrong. */
    gint64 first_chunk, end_chunk, n_chunks;
    gboolean started, failed;
    gint64 failed_from, failed_to;
    MoeFabric failed_fabric;
};

/* The names of all algorithms, NULL-terminated; the one with number @index. */
const char *const *moe_alltoall_names(void);
const MoeAllToAllKind *moe_alltoall_kind(int index);

/* Appends a line per algorithm: its name, what it does, which keys it takes. */
void moe_alltoall_describe(GString *text);

/* Checks that the map @node of a scenario, called @name ("dispatch"; NULL: absent), has no keys that
 * its algorithm does not take, unless the algorithm was chosen elsewhere (--set) over them; then sets
 * those of @transfer that were not given to the algorithm's defaults. Errors: MOE_ERROR_INPUT. */
gboolean moe_alltoall_resolve(MoeTransfer *transfer, const MoeNode *node, const char *name,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Appends the exchanges to the programs and checks what must hold for every algorithm: each rank
 * sends no more of its own than it has copies, ranks pass on only where the algorithm says so, what
 * must arrive at a rank arrives there, and the messages add up to all that. Errors: MOE_ERROR_INPUT
 * when no route connects two GPUs, which it names; MOE_ERROR_FAILED "invariant broken" (a bug). */
gboolean moe_alltoall_lower(MoeAllToAll *job, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* An all-to-all of bytes [ranks, ranks], from row to column, that are no copies of tokens: by the
 * algorithm called @name with its defaults, costing @cost. Errors: as moe_alltoall_lower(). */
gboolean moe_alltoall_bytes(const MoeTopology *topology, const char *name, const gint64 *bytes,
                            MoePhase phase, const MoeKernelCost *cost, MoePrograms *programs,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- for the algorithms ------------------------------------------------------------------------ */

/* Begins a new exchange of all ranks; the first pays the kernel's startup. */
void moe_alltoall_exchange(MoeAllToAll *job);

/* Sends, in the newest exchange, the current chunks' part of @tokens copies from @from to @to (back:
 * from @to to @from); nothing when from == to. @at_home of them are of @from's own tokens, @at_end
 * of them are computed at @to. Charges the sender for the message and its tokens. */
void moe_alltoall_put(MoeAllToAll *job, gint64 from, gint64 to, MoeFabric fabric, gint64 tokens,
                      gint64 at_home, gint64 at_end);

/* The fabric that connects two ranks most directly, in the direction that messages take. */
MoeFabric moe_alltoall_fabric(const MoeAllToAll *job, gint64 from, gint64 to);

/* All copies from @from to @to over that fabric. */
void moe_alltoall_send(MoeAllToAll *job, gint64 from, gint64 to);

/* One exchange in which every rank sends to all others, as moe_alltoall_send(). */
void moe_alltoall_send_all(MoeAllToAll *job);

/* The same over @fabric, whatever connects the ranks beside it. */
void moe_alltoall_send_all_over(MoeAllToAll *job, MoeFabric fabric);

/* Ranks that take part in @node, which are consecutive: the first, how many. */
gint64 moe_alltoall_first(const MoeAllToAll *job, gint64 node);
gint64 moe_alltoall_count(const MoeAllToAll *job, gint64 node);

/* The rank of @node at the place that @rank has in its own node: the same rail. Where the node has
 * fewer ranks, places wrap around. */
gint64 moe_alltoall_rail(const MoeAllToAll *job, gint64 node, gint64 rank);

/* Stages of hops, pipelined in chunks: stage s handles chunk c in exchange c + s. The exchanges in
 * which all stages are at work are one: filling takes n_stages - 1 exchanges of a chunk per stage,
 * then all stages send the rest at once, then as many exchanges drain. Two stages whose bytes take a
 * and b seconds take max(a, b) + min(a, b) / C with C chunks, and latencies. */
typedef void (*MoeAllToAllStage)(MoeAllToAll *job);
void moe_alltoall_pipeline(MoeAllToAll *job, const MoeAllToAllStage *stages, gint64 n_stages);

/* Exchanges that it makes. */
gint64 moe_alltoall_pipeline_exchanges(gint64 n_chunks, gint64 n_stages);

/* For the rows: one exchange. */
gint64 moe_alltoall_one_exchange(const MoeTransfer *transfer, gint64 n_ranks);

extern const MoeAllToAllKind moe_alltoall_direct, moe_alltoall_pairwise, moe_alltoall_windowed,
    moe_alltoall_hierarchical, moe_alltoall_rail_forward, moe_alltoall_deepep_normal,
    moe_alltoall_deepep_low_latency, moe_alltoall_one_sided, moe_alltoall_nccl_ep_low_latency;

#endif
