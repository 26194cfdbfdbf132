/* kernels.h - what communication kernels cost beside their bytes: constants of a topology.
 *
 * Layer: sim. A topology's key "kernels" maps the name of an all-to-all algorithm or of a
 * collective to constants that were fitted on measurements:
 *
 *     kernels:
 *       deepep-normal:
 *         sources: rows of which table they were fitted on
 *         dispatch: {startup: 20us, message: 0.3us, token: 2ns, sms: 20}
 *         combine: {startup: 25us, token: 4ns, sms: 20}
 *       all-reduce:
 *         startup: 5us
 *         variants:
 *           - {algorithm: ring, protocol: LL, message: 0.4us, rate: 10GBps}
 *           - {algorithm: ring, protocol: Simple, message: 2us}
 *
 * An exchange lasts at least `pass` after its start-up: multiprocessors handle a token each, so
 * that few tokens take as long as one.
 *
 * A rank's messages start startup + message * (peers that it sends to) + token * (copies of tokens
 * that it sends, forwarded ones too) after it enters the kernel; a kernel of several rounds or
 * pipelined chunks pays the startup once, and the rest with the round or chunk that it belongs to.
 * A collective's kernels have variants, as NCCL has protocols, and take the one that promises to be
 * the fastest.
 */
#ifndef MOE_SIM_KERNELS_H
#define MOE_SIM_KERNELS_H

#include "topologies/topology.h"

typedef struct {
    double startup; /* s before a rank's first message */
    double message; /* s per peer that a rank sends to, at the sender */
    double token;   /* s per copy of a token that a rank sends, at the sender */
    double pass;    /* s that one token takes through its multiprocessor, however few there are */
    gint64 sms;     /* multiprocessors that it takes from computing; 0: not known */
} MoeKernelCost;

/* One way in which a collective's kernels work. */
typedef struct {
    char *algorithm, *protocol; /* NULL: any; no name */
    double startup, message;    /* NaN: the kernel's */
    double
        rate; /* bytes/s at which a rank handles what it sends, before it is sent; NaN: at once */
} MoeKernelVariant;

typedef enum { MOE_KERNEL_DISPATCH, MOE_KERNEL_COMBINE, MOE_KERNEL_ALONE } MoeKernelPart;

/* The constants of all kernels that a topology names. */
typedef struct MoeKernels MoeKernels;

/* The keys of one kernel; startup, message, token and sms beside dispatch and combine hold for both,
 * and for a collective, which has neither. */
extern const MoeField moe_kernel_fields[];

/* Reads the constants of @topology; none is fine. Free with moe_kernels_free(). Errors:
 * MOE_ERROR_INPUT (a name that is no algorithm, a key that is none); NULL then. */
MoeKernels *moe_kernels_read(const MoeTopology *topology, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_kernels_free(MoeKernels *kernels);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeKernels, moe_kernels_free)

/* The constants of @part of the kernel @name. What the topology does not say is the launch of its
 * (first) GPU for startup, else 0. Returns whether the topology names the kernel. */
gboolean moe_kernels_cost(const MoeKernels *kernels, const char *name, MoeKernelPart part,
                          MoeKernelCost *cost_out);

/* The variants of the collective @name, of which there are *@n_out; borrowed. 0 and NULL: none. */
const MoeKernelVariant *moe_kernels_variants(const MoeKernels *kernels, const char *name,
                                             guint *n_out);

/* Where the constants of @name are from; NULL when nothing is said. Borrowed. */
const char *moe_kernels_sources(const MoeKernels *kernels, const char *name);

/* Adds a member per named kernel to the object that @builder has open. */
void moe_kernels_to_json(const MoeKernels *kernels, JsonBuilder *builder);

#endif
