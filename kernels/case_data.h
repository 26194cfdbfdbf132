/* case_data.h - one generated case of a kernel, and what its inputs are made with.
 *
 * Layer: kernels. Private to cases*.c.
 */
#ifndef MOE_KERNELS_CASE_DATA_H
#define MOE_KERNELS_CASE_DATA_H

#include "kernels/cases.h"
#include "kernels/experts.h"

enum { MOE_CASE_MOST_ARRAYS = 16 };

struct MoeCase {
    MoeCaseShape shape;
    float *a, *b, *c, *weights; /* inputs */
    float *scratch, *out, *ref; /* [n_out] each, scratch apart */
    size_t n_out;
    uint32_t *positions, *offsets, *slots; /* integers, some of them results */
    uint32_t *offsets_ref, *slots_ref;
    uint16_t *experts, *experts_ref;
    size_t n_experts_out, n_slots_out;
    size_t *sequences;
    size_t n_sequences;
    MoeMatrix matrix;
    MoeExpert *ffn;
    void *owned[MOE_CASE_MOST_ARRAYS];
    size_t n_owned;
};

/* The next 64 random bits of @state (splitmix64: Steele, Lea, Flood, 2014); a whole number from low
 * to high; a float of [-1, 1) with all of its 24 bits. */
uint64_t moe_case_next(uint64_t *state);
size_t moe_case_between(uint64_t *state, size_t low, size_t high);
float moe_case_uniform(uint64_t *state);

/* @size bytes that are freed with the case; the same for n random floats, in [-1, 1) or whole. */
void *moe_case_own(MoeCase *c, size_t size);
float *moe_case_floats(MoeCase *c, size_t n);
float *moe_case_whole_floats(MoeCase *c, size_t n);

/* Fills a stored matrix [rows, cols] without gaps with random blocks: any code, scales that keep
 * values moderate (below 2 for plain types), nothing that is not finite. */
void moe_case_store(uint64_t *state, MoeDtype dtype, size_t rows, size_t cols, void *data);

/* Makes room for @n results of kernel and oracle. */
void moe_case_outputs(MoeCase *c, size_t n);

/* For the table in cases.c: the gates of cases_gate.c. */
void moe_draw_gate(uint64_t *state, MoeCaseShape *s);
void moe_draw_grouped_gate(uint64_t *state, MoeCaseShape *s);
void moe_draw_sparsemixer(uint64_t *state, MoeCaseShape *s);
void moe_inputs_sparsemixer(MoeCase *c);
void moe_inputs_gate(MoeCase *c);
void moe_inputs_grouped_gate(MoeCase *c);
void moe_run_gate(MoeCase *c);
void moe_ref_gate(MoeCase *c);
double moe_flop_gate(const MoeCaseShape *s);
double moe_bytes_gate(const MoeCaseShape *s);
void moe_draw_capacity(uint64_t *state, MoeCaseShape *s);
void moe_inputs_capacity(MoeCase *c);
void moe_run_capacity(MoeCase *c);
void moe_ref_capacity(MoeCase *c);
double moe_bytes_capacity(const MoeCaseShape *s);

/* And the attentions of cases_attention.c. */
void moe_draw_attention_whole(uint64_t *state, MoeCaseShape *s);
void moe_inputs_attention_whole(MoeCase *c);
void moe_run_attention_whole(MoeCase *c);
void moe_ref_attention_whole(MoeCase *c);
double moe_flop_attention_whole(const MoeCaseShape *s);
double moe_bytes_attention_whole(const MoeCaseShape *s);

#endif
