#include "config.h"

#include "models/gguf_config.h"

enum { N_NAMES = sizeof(MoeTensorNames) / sizeof(const char *) };

typedef union {
    MoeTensorNames names;
    const char *all[N_NAMES];
} Names;

MoeTensorNames moe_gguf_names(const MoeFamily *family)
{
    static const Names written = {{
        .block = "blk",
        .embedding = "token_embd",
        .final_norm = "output_norm",
        .head = "output",
        .attention_norm = "attn_norm",
        .attention_post_norm = "post_attention_norm",
        .ffn_norm = "ffn_norm",
        .ffn_post_norm = "post_ffw_norm",
        .attention = "",
        .qkv = "attn_qkv",
        .q = "attn_q",
        .k = "attn_k",
        .v = "attn_v",
        .o = "attn_output",
        .q_a = "attn_q_a",
        .q_b = "attn_q_b",
        .kv_a = "attn_kv_a_mqa",
        .kv_b = "attn_kv_b",
        .q_a_norm = "attn_q_a_norm",
        .kv_a_norm = "attn_kv_a_norm",
        .q_norm = "attn_q_norm",
        .k_norm = "attn_k_norm",
        .sinks = "attn_sinks.weight",
        .router = "ffn_gate_inp",
        .bias = "exp_probs_b.bias",
        .gate = "ffn_gate_exps",
        .up = "ffn_up_exps",
        .down = "ffn_down_exps",
        .gate_up = "ffn_gate_up_exps",
        .dense_gate = "ffn_gate",
        .dense_up = "ffn_up",
        .dense_down = "ffn_down",
        .shared_gate = "ffn_gate_shexp",
        .shared_up = "ffn_up_shexp",
        .shared_down = "ffn_down_shexp",
        .shared_router = "ffn_gate_inp_shexp",
    }};
    Names names = {moe_family_names_of(family)};
    for (int i = 0; i < N_NAMES; i++)
        names.all[i] = names.all[i] != NULL ? written.all[i] : NULL;
    names.names.gate = written.names.gate; /* however the family itself stores it */
    names.names.up = written.names.up;
    names.names.gate_up = written.names.gate_up;
    names.names.qkv = written.names.qkv;
    if (family->gguf.ffn_norm != NULL)
        names.names.ffn_norm = family->gguf.ffn_norm;
    return names.names;
}

MoeDtype moe_gguf_dtype(const GPtrArray *files)
{
    gint64 counts[MOE_DTYPE_COUNT] = {0};
    MoeDtype most = MOE_F32;
    for (guint f = 0; f < files->len; f++) {
        guint n;
        const MoeTensor *tensors = moe_gguf_tensors(files->pdata[f], &n);
        for (guint i = 0; i < n; i++) {
            MoeDtype dtype;
            if (moe_st_type_dtype(tensors[i].type, &dtype))
                counts[dtype] += tensors[i].n_elements;
        }
    }
    for (int d = 0; d < MOE_DTYPE_COUNT; d++)
        most = counts[d] > counts[most] ? (MoeDtype)d : most;
    return most;
}
