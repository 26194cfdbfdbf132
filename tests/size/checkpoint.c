/* checkpoint - writes a model folder of random weights in the shapes of a published model, to see what
 * tracing it takes: config.json, shards of at most 4 GiB, their index. No tokenizer.
 *
 * checkpoint MODEL FOLDER: olmoe (OLMoE-1B-7B-0924: 13.8 GB of bf16), deepseek (one block with experts
 * of DeepSeek-V3: 15.3 GB, fp8 in blocks of 128 x 128), small (0.4 GB, in the manner of the first).
 */
#include "config.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOISE = 1 << 22 }; /* elements of random numbers, of which each tensor takes a part */

typedef enum { BF16, F32, FP8 } Type;
static const char *const type_names[] = {"BF16", "F32", "F8_E4M3"};
static const gsize type_bytes[] = {2, 4, 1};

typedef struct {
    char *name;
    Type type;
    gint64 rows, cols; /* rows 0: a vector */
    double scale;      /* of the weights; 0: ones; negative: all of that magnitude */
} Tensor;

typedef struct {
    const char *folder;
    GArray *tensors; /* Tensor */
    guint16 bf16[NOISE];
    guint8 fp8[NOISE];
    GRand *random;
} Writer;

static guint16 to_bf16(double value)
{
    float f = (float)value;
    guint32 bits;
    memcpy(&bits, &f, sizeof(bits));
    return (guint16)((bits + 0x8000) >> 16);
}

/* The nearest below in magnitude, subnormals as zero. */
static guint8 to_fp8(double value)
{
    int exponent;
    double mantissa = frexp(fabs(value), &exponent); /* [0.5, 1) */
    int biased = exponent - 1 + 7;
    if (biased < 1)
        return 0;
    if (biased > 15)
        return value < 0 ? 0xFE : 0x7E;
    int bits = (int)((mantissa * 2 - 1) * 8);
    if (biased == 15 && bits == 7)
        bits = 6; /* 0x7F is a NaN */
    return (guint8)((value < 0 ? 0x80 : 0) | biased << 3 | bits);
}

static void fill_noise(Writer *w)
{
    for (gsize i = 0; i < NOISE; i++) {
        /* The sum of three uniform numbers: near enough to normal, deviation 1. */
        double x = 2 * (g_rand_double(w->random) + g_rand_double(w->random) +
                        g_rand_double(w->random) - 1.5);
        w->bf16[i] = to_bf16(0.02 * x);
        w->fp8[i] = to_fp8(x * 16);
    }
}

G_GNUC_PRINTF(6, 7)
static void add(Writer *w, Type type, gint64 rows, gint64 cols, double scale, const char *format,
                ...)
{
    va_list args;
    va_start(args, format);
    Tensor tensor = {g_strdup_vprintf(format, args), type, rows, cols, scale};
    va_end(args);
    g_array_append_val(w->tensors, tensor);
}

static void add_norm(Writer *w, gint64 n, const char *prefix, const char *name)
{
    add(w, BF16, 0, n, 0, "%s%s.weight", prefix, name);
}

static void add_matrix(Writer *w, Type type, gint64 rows, gint64 cols, const char *prefix,
                       const char *name)
{
    add(w, type, rows, cols, 0.02, "%s%s.weight", prefix, name);
    if (type == FP8)
        add(w, F32, (rows + 127) / 128, (cols + 127) / 128, -0.02 / 16, "%s%s.weight_scale_inv",
            prefix, name);
}

static void add_ffn(Writer *w, Type type, gint64 hidden, gint64 width, const char *prefix)
{
    add_matrix(w, type, width, hidden, prefix, "gate_proj");
    add_matrix(w, type, width, hidden, prefix, "up_proj");
    add_matrix(w, type, hidden, width, prefix, "down_proj");
}

/* --- models ---------------------------------------------------------------------------------- */

static const char *describe_olmoe(Writer *w, gint64 H, gint64 layers, gint64 experts, gint64 F,
                                  gint64 vocab)
{
    add_matrix(w, BF16, vocab, H, "", "model.embed_tokens");
    for (gint64 l = 0; l < layers; l++) {
        g_autofree char *block = g_strdup_printf("model.layers.%" G_GINT64_FORMAT ".", l);
        static const char *const attention[] = {"self_attn.q_proj", "self_attn.k_proj",
                                                "self_attn.v_proj", "self_attn.o_proj"};
        static const char *const norms[] = {"input_layernorm", "post_attention_layernorm",
                                            "self_attn.q_norm", "self_attn.k_norm"};
        for (gsize i = 0; i < 4; i++) {
            add_matrix(w, BF16, H, H, block, attention[i]);
            add_norm(w, H, block, norms[i]);
        }
        add_matrix(w, BF16, experts, H, block, "mlp.gate");
        for (gint64 e = 0; e < experts; e++) {
            g_autofree char *prefix =
                g_strdup_printf("%smlp.experts.%" G_GINT64_FORMAT ".", block, e);
            add_ffn(w, BF16, H, F, prefix);
        }
    }
    add_norm(w, H, "", "model.norm");
    add_matrix(w, BF16, vocab, H, "", "lm_head");
    return "{\"architectures\": [\"OlmoeForCausalLM\"], \"model_type\": \"olmoe\", "
           "\"hidden_act\": \"silu\", \"num_attention_heads\": 16, \"num_key_value_heads\": 16, "
           "\"num_experts_per_tok\": 8, \"norm_topk_prob\": false, \"rms_norm_eps\": 1e-05, "
           "\"rope_theta\": 10000.0, \"max_position_embeddings\": 4096, \"clip_qkv\": null, "
           "\"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", ";
}

static const char *describe_deepseek(Writer *w)
{
    const gint64 H = 7168, Q = 128;
    const char *block = "model.layers.0.";
    add_matrix(w, BF16, 129280, H, "", "model.embed_tokens");
    add_norm(w, H, block, "input_layernorm");
    add_norm(w, H, block, "post_attention_layernorm");
    add_norm(w, 1536, block, "self_attn.q_a_layernorm");
    add_norm(w, 512, block, "self_attn.kv_a_layernorm");
    add_matrix(w, FP8, 1536, H, block, "self_attn.q_a_proj");
    add_matrix(w, FP8, Q * 192, 1536, block, "self_attn.q_b_proj");
    add_matrix(w, FP8, 576, H, block, "self_attn.kv_a_proj_with_mqa");
    add_matrix(w, FP8, Q * 256, 512, block, "self_attn.kv_b_proj");
    add_matrix(w, FP8, H, Q * 128, block, "self_attn.o_proj");
    add_matrix(w, BF16, 256, H, block, "mlp.gate");
    add(w, F32, 0, 256, -0.01, "%smlp.gate.e_score_correction_bias", block);
    for (int e = 0; e < 256; e++) {
        g_autofree char *prefix = g_strdup_printf("%smlp.experts.%d.", block, e);
        add_ffn(w, FP8, H, 2048, prefix);
    }
    add_ffn(w, FP8, H, 2048, "model.layers.0.mlp.shared_experts.");
    add_norm(w, H, "", "model.norm");
    add_matrix(w, BF16, 129280, H, "", "lm_head");
    return "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
           "\"hidden_act\": \"silu\", \"hidden_size\": 7168, \"num_hidden_layers\": 1, "
           "\"first_k_dense_replace\": 0, \"intermediate_size\": 18432, "
           "\"moe_intermediate_size\": 2048, \"n_routed_experts\": 256, \"n_shared_experts\": 1, "
           "\"num_experts_per_tok\": 8, \"n_group\": 8, \"topk_group\": 4, \"norm_topk_prob\": "
           "true, "
           "\"routed_scaling_factor\": 2.5, \"scoring_func\": \"sigmoid\", "
           "\"topk_method\": \"noaux_tc\", \"num_attention_heads\": 128, "
           "\"num_key_value_heads\": 128, \"q_lora_rank\": 1536, \"kv_lora_rank\": 512, "
           "\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128, "
           "\"rms_norm_eps\": 1e-06, \"rope_theta\": 10000, \"max_position_embeddings\": 163840, "
           "\"rope_scaling\": {\"beta_fast\": 32, \"beta_slow\": 1, \"factor\": 40, \"mscale\": "
           "1.0, "
           "\"mscale_all_dim\": 1.0, \"original_max_position_embeddings\": 4096, "
           "\"type\": \"yarn\"}, \"quantization_config\": {\"activation_scheme\": \"dynamic\", "
           "\"fmt\": \"e4m3\", \"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}, "
           "\"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", \"vocab_size\": 129280}";
}

/* --- writing --------------------------------------------------------------------------------- */

static void must(gboolean good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static gsize tensor_elements(const Tensor *t)
{
    return (gsize)(MAX(t->rows, 1) * t->cols);
}

static void write_tensor(const Writer *w, const Tensor *t, FILE *file)
{
    gsize left = tensor_elements(t), bytes = type_bytes[t->type];
    if (t->type == F32 || t->scale == 0) {
        const float wide = (float)fabs(t->scale);
        const guint16 one = to_bf16(1);
        for (; left > 0; left--)
            fwrite(t->type == F32 ? (const void *)&wide : (const void *)&one, bytes, 1, file);
        return;
    }
    const char *noise = t->type == BF16 ? (const char *)w->bf16 : (const char *)w->fp8;
    gsize at = g_rand_int(w->random) % NOISE;
    for (gsize n; left > 0; left -= n, at = 0) {
        n = MIN(left, NOISE - at);
        fwrite(noise + at * bytes, bytes, n, file);
    }
}

/* The tensors [first, last) as one shard. */
static void write_shard(const Writer *w, guint first, guint last, const char *name)
{
    g_autofree char *path = g_build_filename(w->folder, name, NULL);
    g_autoptr(GString) header = g_string_new("{");
    gsize at = 0;
    for (guint i = first; i < last; i++) {
        const Tensor *t = &g_array_index(w->tensors, Tensor, i);
        gsize end = at + tensor_elements(t) * type_bytes[t->type];
        g_string_append_printf(header, "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [",
                               i > first ? ", " : "", t->name, type_names[t->type]);
        if (t->rows > 0)
            g_string_append_printf(header, "%" G_GINT64_FORMAT ", ", t->rows);
        g_string_append_printf(header,
                               "%" G_GINT64_FORMAT "], \"data_offsets\": [%" G_GSIZE_FORMAT
                               ", %" G_GSIZE_FORMAT "]}",
                               t->cols, at, end);
        at = end;
    }
    g_string_append_c(header, '}');
    while (header->len % 8 != 0)
        g_string_append_c(header, ' ');
    FILE *file = fopen(path, "wb");
    must(file != NULL, path);
    guint64 length = GUINT64_TO_LE((guint64)header->len);
    fwrite(&length, sizeof(length), 1, file);
    fwrite(header->str, 1, header->len, file);
    for (guint i = first; i < last; i++)
        write_tensor(w, &g_array_index(w->tensors, Tensor, i), file);
    must(ferror(file) == 0 && fclose(file) == 0, path);
}

static void write_model(const Writer *w, const char *config)
{
    const gsize most = (gsize)4 << 30;
    g_autoptr(GString) index = g_string_new("{\"metadata\": {}, \"weight_map\": {");
    guint shard = 0;
    for (guint first = 0, last; first < w->tensors->len; first = last) {
        g_autofree char *name = g_strdup_printf("model-%05u.safetensors", ++shard);
        gsize bytes = 0;
        for (last = first; last < w->tensors->len; last++) {
            const Tensor *t = &g_array_index(w->tensors, Tensor, last);
            bytes += tensor_elements(t) * type_bytes[t->type];
            if (bytes > most && last > first)
                break;
            g_string_append_printf(index, "%s\"%s\": \"%s\"", last > 0 ? ", " : "", t->name, name);
        }
        write_shard(w, first, last, name);
    }
    g_string_append(index, "}}\n");
    g_autofree char *index_path = g_build_filename(w->folder, "model.safetensors.index.json", NULL);
    g_autofree char *config_path = g_build_filename(w->folder, "config.json", NULL);
    must(g_file_set_contents(index_path, index->str, -1, NULL), index_path);
    must(g_file_set_contents(config_path, config, -1, NULL), config_path);
}

int main(int argc, char **argv)
{
    static Writer w;
    if (argc != 3 || (strcmp(argv[1], "olmoe") != 0 && strcmp(argv[1], "deepseek") != 0 &&
                      strcmp(argv[1], "small") != 0)) {
        fputs("usage: checkpoint olmoe|deepseek|small FOLDER\n", stderr);
        return 2;
    }
    w.folder = argv[2];
    w.tensors = g_array_new(FALSE, FALSE, sizeof(Tensor));
    w.random = g_rand_new_with_seed(1);
    must(g_mkdir_with_parents(w.folder, 0777) == 0, w.folder);
    fill_noise(&w);
    g_autofree char *config = NULL;
    if (strcmp(argv[1], "deepseek") == 0) {
        config = g_strdup(describe_deepseek(&w));
    } else {
        gboolean full = strcmp(argv[1], "olmoe") == 0;
        gint64 H = full ? 2048 : 512, F = full ? 1024 : 512, layers = full ? 16 : 4;
        gint64 vocab = full ? 50304 : 4096;
        config = g_strdup_printf("%s\"hidden_size\": %" G_GINT64_FORMAT
                                 ", \"num_hidden_layers\": %" G_GINT64_FORMAT
                                 ", \"num_experts\": 64, \"intermediate_size\": %" G_GINT64_FORMAT
                                 ", \"vocab_size\": %" G_GINT64_FORMAT "}",
                                 describe_olmoe(&w, H, layers, 64, F, vocab), H, layers, F, vocab);
    }
    write_model(&w, config);
    return 0;
}
