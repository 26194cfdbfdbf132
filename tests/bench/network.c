/* network.c - times the two sharings of bandwidth on one core, side by side.
 *
 * usage: network [--csv FILE] [MOST_GPUS [MOST_GPUS_SIMGRID]]
 *
 * Cases: a direct all-to-all of unequal messages on nodes of 8 GPUs with a NIC each; the same on 8
 * rails, every rank with those at its place in other nodes and all in its own; and the dispatches and
 * combines of a DeepSeek-V3-shaped step. Every case runs in a process of its own, lowering and checks
 * included; seconds are those of the processor, MiB the most that was resident. CSV: case, gpus,
 * messages, sharing, cpu_s, peak_mib, simulated_s. Doubles from 16 to MOST_GPUS (1024), with SimGrid's
 * sharing to MOST_GPUS_SIMGRID (128).
 */
#include "config.h"

#include "sim/alltoall.h"
#include "sim/base/file.h"
#include "sim/base/rng.h"
#include "sim/base/yaml.h"
#include "sim/child.h"
#include "sim/run.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct {
    const char *name;
    gboolean rails;
    int gpus, sharing;
} Case;

typedef struct {
    gint64 messages;
    double cpu, mib, simulated;
} Measured;

static void must(gboolean good, const GError *error)
{
    if (!good) {
        g_printerr("network: %s\n", error->message);
        exit(EXIT_FAILURE);
    }
}

static MoeTopology *cluster(int gpus)
{
    g_autofree char *yaml = g_strdup_printf(
        "{name: bench, nodes: %d, gpus_per_node: 8, gpu: h100-sxm, scale_up: {kind: nvswitch,"
        " bandwidth: 160GBps, latency: 0.5us}, nics: {per_node: 8, bandwidth: 400Gbps},"
        " scale_out: {kind: non-blocking, latency: 2us}}",
        gpus / 8);
    g_autoptr(GError) error = NULL;
    g_autoptr(MoeNode) node = moe_yaml_parse(yaml, strlen(yaml), "cluster", &error);
    must(node != NULL, error);
    MoeTopology *topology = moe_topology_read(node, NULL, 0, &error);
    must(topology != NULL, error);
    return topology;
}

static double cpu_of(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Sizes from 1 byte to 1 MB, evenly distributed. */
static gint64 *sizes(const Case *c)
{
    gint64 *bytes = g_new0(gint64, (gsize)c->gpus * (gsize)c->gpus);
    g_autoptr(GRand) rng = moe_rng_new(1, "sizes");
    for (gint64 a = 0; a < c->gpus; a++)
        for (gint64 b = 0; b < c->gpus; b++)
            if (!c->rails || a / 8 == b / 8 || a % 8 == b % 8)
                bytes[a * c->gpus + b] = g_rand_int_range(rng, 1, 1000001);
    return bytes;
}

/* Making the sizes up is not counted: they stand for a trace that is there. */
static void run_alltoall(const Case *c, Measured *m)
{
    g_autoptr(GError) error = NULL;
    gint64 *bytes = sizes(c);
    m->cpu = -cpu_of(RUSAGE_SELF);
    g_autoptr(MoeTopology) topology = cluster(c->gpus);
    g_autoptr(MoePrograms) programs = moe_programs_new(c->gpus);
    const MoeKernelCost cost = {0};
    must(moe_alltoall_bytes(topology, "direct", bytes, MOE_PHASE_DISPATCH, &cost, programs, &error),
         error);
    g_free(bytes);
    const MoeEngineOptions options = {.sharing = c->sharing, .quantum = 0.005};
    g_autoptr(MoeTimes) times = moe_engine_run(topology, programs, &options, NULL, &error);
    must(times != NULL, error);
    g_autoptr(MoeResult) result = moe_result_new(topology, programs, times, &error);
    must(result != NULL, error);
    for (gint64 r = 0; r < programs->n_ranks; r++)
        m->messages += programs->ranks[r].sends->len;
    m->simulated = result->seconds;
}

/* --- a whole step ---------------------------------------------------------------------------- */

static const char shapes[] =
    "{name: v3, source: 'config.json of deepseek-ai/DeepSeek-V3', hidden_size: 7168,"
    " num_hidden_layers: 61, vocab_size: 129280, attention: mla, num_attention_heads: 128,"
    " q_lora_rank: 1536, kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64,"
    " v_head_dim: 128, num_experts: 256, num_experts_per_tok: 8, moe_intermediate_size: 2048,"
    " shared_expert_intermediate_size: 2048, first_k_dense_replace: 3, intermediate_size: 18432,"
    " max_position_embeddings: 163840, tie_word_embeddings: false, dtype: bf16}\n";

static const char scenario[] =
    "{model: v3, routing: {synthetic: {kind: zipf, tokens: 65536}},"
    " topology: {preset: h800, nodes: 32}, plan: {expert: 256}, phase: {kind: prefill,"
    " tokens_per_gpu: 4096, repeat: true}, dispatch: {algorithm: deepep-normal, dtype: fp8},"
    " combine: {algorithm: deepep-normal, dtype: bf16}, network: {sharing: fast}, control: none}\n";

/* Making the routing up is not counted either. */
static void run_step(Measured *m)
{
    g_autoptr(GError) error = NULL;
    g_mkdir_with_parents("bench-step/v3", 0777);
    must(moe_file_write("bench-step/v3/shapes.yaml", TRUE, shapes, strlen(shapes), &error), error);
    must(moe_file_write("bench-step/step.yaml", TRUE, scenario, strlen(scenario), &error), error);
    g_autoptr(MoeScenario) s = moe_scenario_load("bench-step/step.yaml", NULL, NULL, &error);
    must(s != NULL, error);
    m->cpu = -cpu_of(RUSAGE_SELF);
    g_autoptr(MoeRun) run = moe_run(s, NULL, &error);
    must(run != NULL, error);
    for (gint64 r = 0; r < run->lowered->programs->n_ranks; r++)
        m->messages += run->lowered->programs->ranks[r].sends->len;
    m->simulated = run->result->seconds;
}

/* --- one process per case -------------------------------------------------------------------- */

static void work(MoeChild *child, void *user)
{
    const Case *c = user;
    Measured m = {0};
    if (c->gpus > 0)
        run_alltoall(c, &m);
    else
        run_step(&m);
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    m.cpu += cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
    m.mib = (double)MAX(self.ru_maxrss, children.ru_maxrss) / 1024;
    moe_child_send(child, &m, sizeof(m));
}

static double measure(const Case *c, int gpus, FILE *csv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = moe_child_run("the case", work, (void *)c, NULL, &error);
    must(bytes != NULL, error);
    Measured m;
    memcpy(&m, g_bytes_get_data(bytes, NULL), sizeof(m));
    const char *sharing = moe_engine_sharings()[c->sharing];
    printf("%-8s %6d %10" G_GINT64_FORMAT " %-8s %10.3f %8.0f %12.3f\n", c->name, gpus, m.messages,
           sharing, m.cpu, m.mib, m.simulated * 1e3);
    fflush(stdout);
    if (csv != NULL) {
        fprintf(csv, "%s,%d,%" G_GINT64_FORMAT ",%s,%.4g,%.0f,%.9g\n", c->name, gpus, m.messages,
                sharing, m.cpu, m.mib, m.simulated);
        fflush(csv);
    }
    return m.cpu;
}

/* Parent and child take turns. */
static void stay_on_this_core(void)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    sched_setaffinity(0, sizeof(here), &here);
}

int main(int argc, char **argv)
{
    stay_on_this_core();
    FILE *csv = argc > 2 && strcmp(argv[1], "--csv") == 0 ? fopen(argv[2], "w") : NULL;
    int at = csv != NULL ? 3 : 1, most = argc > at ? atoi(argv[at]) : 1024;
    int most_simgrid = argc > at + 1 ? atoi(argv[at + 1]) : 128;
    printf("%-8s %6s %10s %-8s %10s %8s %12s\n", "case", "GPUs", "messages", "sharing", "CPU s",
           "MiB", "simulated ms");
    if (csv != NULL)
        fprintf(csv, "case,gpus,messages,sharing,cpu_s,peak_mib,simulated_s\n");
    for (int rails = 0; rails < 2; rails++)
        for (int gpus = 16; gpus <= most; gpus *= 2) {
            Case c = {rails ? "rails" : "direct", rails, gpus, MOE_SHARING_FAST};
            double fast = measure(&c, gpus, csv);
            c.sharing = MOE_SHARING_SIMGRID;
            if (gpus <= most_simgrid)
                printf("%63s %.1f x\n", "SimGrid's takes", measure(&c, gpus, csv) / fast);
        }
    const Case step = {"step", FALSE, 0, MOE_SHARING_FAST};
    measure(&step, 256, csv);
    if (csv != NULL && fclose(csv) != 0)
        return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
