/* cases.h - one list of kernels with generated inputs, for everything that runs them against their
 * oracles or the clock: `moesim verify`, the unit tests, `make bench`.
 *
 * Layer: kernels. Letters as in gate.h.
 */
#ifndef MOE_KERNELS_CASES_H
#define MOE_KERNELS_CASES_H

#include "kernels/matrix.h"

/* A kernel reads those members that its shapes name. */
typedef struct {
    size_t T, E, K, H, F, Q, G, D, N;
    MoeDtype dtype;
    MoePrecision precision;
    uint64_t seed; /* of the inputs */
} MoeCaseShape;

/* Inputs and outputs of one call. */
typedef struct MoeCase MoeCase;

typedef struct {
    const char *name;
    double bound;                                       /* on moe_case_error() */
    const char *reason;                                 /* why that bound */
    void (*draw)(uint64_t *state, MoeCaseShape *shape); /* a small random shape */
    void (*inputs)(MoeCase *c);
    void (*run)(MoeCase *c);
    void (*run_ref)(MoeCase *c);
    double (*flop)(const MoeCaseShape *shape);  /* of one call */
    double (*bytes)(const MoeCaseShape *shape); /* least memory traffic of one call */
} MoeKernel;

/* All kernels; *n_out of them. Static. */
const MoeKernel *moe_kernels(size_t *n_out);

/* Draws the shape of test @index of @kernel: same seed and index, same shape and inputs. */
MoeCaseShape moe_case_shape(const MoeKernel *kernel, uint64_t seed, size_t index);

/* Allocates the arrays and makes the inputs. Free with moe_case_free(). */
MoeCase *moe_case_new(const MoeKernel *kernel, const MoeCaseShape *shape);
void moe_case_free(MoeCase *c);

/* The largest difference between kernel and oracle, as a share of the oracle's largest absolute
 * value; infinite when integers differ (experts, slots) or a result is not finite. Runs both. */
double moe_case_error(const MoeKernel *kernel, MoeCase *c);

#endif
