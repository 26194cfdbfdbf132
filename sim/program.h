/* program.h - what every rank does, as data: the boundary between lowering and the executors.
 *
 * Layer: sim. A rank runs its operations in order. An operation either computes for a given time,
 * or exchanges messages: it posts all its sends and receives at once and ends when the last is
 * complete. A message starts when both its sender and its receiver have posted it, as in NCCL. All
 * ranks meet the exchanges in one global order, so programs cannot deadlock.
 */
#ifndef MOE_SIM_PROGRAM_H
#define MOE_SIM_PROGRAM_H

#include "topologies/routes.h"

typedef enum {
    MOE_PHASE_ATTENTION,
    MOE_PHASE_ROUTER,
    MOE_PHASE_DISPATCH,
    MOE_PHASE_EXPERTS,
    MOE_PHASE_SHARED,
    MOE_PHASE_COMBINE,
    MOE_PHASE_DENSE,
    MOE_PHASE_HEAD,
    MOE_PHASE_COLLECTIVE,
    MOE_PHASE_COUNT
} MoePhase;

/* "attention", "router" ... */
const char *moe_phase_name(MoePhase phase);

typedef struct {
    guint32 peer;
    guint32 fabric; /* MoeFabric */
    gint64 bytes;   /* at least 1 */
} MoeMessage;

typedef struct {
    guint8 phase;    /* MoePhase */
    guint8 exchange; /* whether it exchanges; else it computes */
    gint32 step;
    gint32 layer; /* block; -1: outside of the blocks */
    double
        seconds;  /* of computing; of starting up, before the messages of an exchange are posted */
    double least; /* an exchange lasts no less, its start-up not counted; s */
    guint32 first_send, n_sends; /* in the program's sends */
    guint32 first_recv, n_recvs;
} MoeOp;

typedef struct {
    GArray *ops;   /* MoeOp */
    GArray *sends; /* MoeMessage */
    GArray *recvs; /* MoeMessage */
} MoeProgram;

/* The programs of all ranks; rank r runs on GPU r. */
typedef struct {
    gint64 n_ranks;
    MoeProgram *ranks; /* [n_ranks] */
    int step, layer;   /* given to the operations that are appended */
    MoeRoutes *routes; /* between the ranks, for whoever asks for them */
} MoePrograms;

MoePrograms *moe_programs_new(gint64 n_ranks);
void moe_programs_free(MoePrograms *programs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoePrograms, moe_programs_free)

/* Appends an operation that computes to one rank. */
void moe_programs_compute(MoePrograms *programs, gint64 rank, MoePhase phase, double seconds);

/* Appends an exchange without messages to all ranks; moe_programs_send() then fills it. */
void moe_programs_exchange(MoePrograms *programs, MoePhase phase, double startup);

/* Lengthens the start-up of the newest operation of @rank. */
void moe_programs_delay(MoePrograms *programs, gint64 rank, double seconds);

/* Makes the newest exchange, which must be the newest operation of all ranks, last at least @seconds
 * after its start-up. */
void moe_programs_last(MoePrograms *programs, double seconds);

/* Adds a message to the newest exchange, which must be the newest operation of both ranks: a send
 * to @from's list, a receive to @to's. from != to, bytes >= 1. */
void moe_programs_send(MoePrograms *programs, gint64 from, gint64 to, MoeFabric fabric,
                       gint64 bytes);

/* What the simulation of a message and of an operation takes at most, in bytes, about: measured. */
enum { MOE_MESSAGE_BYTES = 150, MOE_OPERATION_BYTES = 70 };

/* Operations of all ranks together; messages. */
gint64 moe_programs_count(const MoePrograms *programs);
gint64 moe_programs_messages(const MoePrograms *programs);

#endif
