#include "config.h"

#include "kernels/case_data.h"

#include <string.h>

uint64_t moe_case_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

size_t moe_case_between(uint64_t *state, size_t low, size_t high)
{
    return low + moe_case_next(state) % (high - low + 1);
}

float moe_case_uniform(uint64_t *state)
{
    return (float)(moe_case_next(state) >> 40) * 0x1p-23F - 1;
}

void *moe_case_own(MoeCase *c, size_t size)
{
    return c->owned[c->n_owned++] = moe_scratch(size);
}

float *moe_case_floats(MoeCase *c, size_t n)
{
    float *x = moe_case_own(c, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] = moe_case_uniform(&c->shape.seed);
    return x;
}

float *moe_case_whole_floats(MoeCase *c, size_t n)
{
    float *x = moe_case_own(c, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] = (float)moe_case_between(&c->shape.seed, 0, 8) - 4;
    return x;
}

void moe_case_outputs(MoeCase *c, size_t n)
{
    c->n_out = n;
    c->out = moe_case_own(c, n * sizeof(float));
    c->ref = moe_case_own(c, n * sizeof(float));
    memset(c->out, 0, n * sizeof(float));
    memset(c->ref, 0, n * sizeof(float));
}
