/* collective.h - collectives other than the all-to-all of experts: which rank sends which part of
 * its buffer to whom, and when.
 *
 * Layer: sim. An algorithm is a list of rounds, and a round a list of moves; a round becomes one
 * exchange of a program, the moves between the same two ranks one message. A new algorithm is one
 * file and one row of the table in collective.c. Rank r runs on GPU r. Letters: N ranks, B bytes.
 *
 * "Bytes" are those of nccl-tests: the whole buffer, whatever the operation. An all-gather ends and
 * a reduce-scatter begins with B bytes on every rank, B/N of them each rank's own (rank r: bytes r B
 * / N up to (r + 1) B / N).
 */
#ifndef MOE_SIM_COLLECTIVE_H
#define MOE_SIM_COLLECTIVE_H

#include "sim/program.h"

typedef enum {
    MOE_ALL_REDUCE,     /* everyone ends with the sum of all buffers */
    MOE_ALL_GATHER,     /* everyone ends with the parts of all ranks */
    MOE_REDUCE_SCATTER, /* everyone ends with its part of the sum of all buffers */
    MOE_BROADCAST,      /* everyone ends with the root's buffer */
    MOE_SEND_RECEIVE,   /* one rank or every rank sends its buffer to one other */
    MOE_ALL_TO_ALL,     /* everyone sends B/N to each other: the algorithms of alltoall.h */
    MOE_OPERATION_COUNT
} MoeOperation;

/* "all-reduce", "all-gather", ... NULL-terminated. */
const char *const *moe_operation_names(void);

/* What nccl-tests multiply bytes/time by to get the "bus bandwidth", which a ring's links would
 * carry: 2(N-1)/N, (N-1)/N or 1. */
double moe_operation_bus_factor(MoeOperation operation, gint64 n_ranks);

/* One part of the buffer on its way: chunks first ... first + count - 1 of `from` replace or, reduce,
 * are added to those of `to`. All moves of a round see the buffers as the round before left them. */
typedef struct {
    guint32 round, from, to;
    guint32 first, count;
    gboolean reduce;
} MoeMove;

typedef struct {
    const MoeTopology *topology;
    MoeOperation operation;
    const char *algorithm; /* one of moe_collective_algorithms() */
    gint64 bytes;          /* B, at least 1 */
    gint64 root;           /* the rank that a broadcast or a single send begins at */
    gint64 to;             /* the rank that a single send ends at */
    gint64 chunk;          /* bytes that a pipeline passes on at once, at least 1 */
    MoePhase phase;
    double startup; /* s before a rank's first message: the kernel's launch */
    double message; /* s per round and peer that a rank sends to, at the sender */
    double rate;    /* bytes/s at which a rank handles what it sends, before; NaN: at once */
    GArray *moves;  /* MoeMove, appended to for whoever wants to check an algorithm; or NULL */
} MoeCollective;

/* The names of the algorithms that do @operation, NULL-terminated; the first is the default. Free
 * with g_free(), the names are static. */
const char **moe_collective_algorithms(MoeOperation operation);

/* Whether @algorithm is one of these, for the operation called @operation. Errors: MOE_ERROR_INPUT,
 * "algorithm: ...", with the names that would do. */
gboolean moe_collective_does(const char *operation, const char *algorithm, GError **error);

/* Appends the rounds of the algorithm to @programs. Errors: MOE_ERROR_INPUT (so many messages would
 * not fit into memory; no route, with the names of both GPUs; an algorithm that needs all ranks in
 * one node). */
gboolean moe_collective_lower(const MoeCollective *job, MoePrograms *programs,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* How much there is to simulate. */
typedef struct {
    double messages, rounds; /* every rank has an operation in each round */
} MoeCollectiveSize;

/* About how much moe_collective_lower() would make for @n_ranks ranks, before it does: within a factor
 * of four when there is a byte for every part. */
MoeCollectiveSize moe_collective_size(const MoeCollective *job, gint64 n_ranks);

/* What @programs, of one collective, promise to take: the sum over rounds of the slowest rank's
 * delays, longest latency, and bytes over its slowest route, as if links were never shared. s. */
double moe_collective_estimate(const MoeTopology *topology, const MoePrograms *programs);

/* --- for the algorithms ----------------------------------------------------------------------- */

/* What an algorithm fills: the functions below. */
typedef struct MoeSchedule MoeSchedule;

/* The ranks node by node, and the ways out of each node. A channel is one ring or tree beside the
 * others: with k NICs per node (the fewest of any), k of them, so that all NICs work; on one node,
 * and without NICs, 1. Port c of a node is the first of its ranks that has NIC c of those it has. */
typedef struct {
    gint64 n_ranks, n_nodes, n_channels;
    gint64 *first; /* [n_nodes + 1]: node m has ranks first[m] ... first[m + 1] - 1 */
    gint64 *ports; /* [n_nodes, n_channels] */
} MoeRanks;

typedef struct {
    const char *name;
    const char *summary;
    guint operations;  /* 1 << MoeOperation of those that it does */
    gboolean one_node; /* works inside the switch of one node */
    void (*plan)(const MoeCollective *job, MoeSchedule *schedule);
    /* About how much that makes, within a factor of four; of more than one rank. */
    MoeCollectiveSize (*size)(const MoeCollective *job, const MoeRanks *ranks);
} MoeCollectiveKind;

const MoeRanks *moe_schedule_ranks(const MoeSchedule *schedule);

/* Cuts the buffer into @count chunks of equal size (to a byte), before the first round. */
void moe_schedule_chunks(MoeSchedule *schedule, guint32 count);

/* The pieces that a pipeline over a buffer of @bytes is cut into: bytes / chunk, at most 256. */
guint32 moe_schedule_pieces(const MoeCollective *job, gint64 bytes);

/* Ends the round; the moves that follow are the next one's. */
void moe_schedule_round(MoeSchedule *schedule);

/* Adds a move to the round; nothing when the ranks are the same. */
void moe_schedule_move(MoeSchedule *schedule, gint64 from, gint64 to, guint32 first, guint32 count,
                       gboolean reduce);

/* One round in which a switch adds up the buffers of all ranks and sends the sum to all: each rank
 * sends and receives @bytes in all. */
void moe_schedule_in_switch(MoeSchedule *schedule, gint64 bytes);

extern const MoeCollectiveKind moe_collective_ring, moe_collective_tree,
    moe_collective_hierarchical, moe_collective_direct, moe_collective_nvls;

#endif
