#include "config.h"

#include "sim/folder.h"

#include "sim/base/csv.h"
#include "sim/base/file.h"

#include <errno.h>
#include <float.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

static const char format[] = "moesim-run-1";

/* Fills one file of the folder; returns how many rows it has. */
typedef gint64 (*Fill)(const MoeRun *run, MoeWriter *writer);

static const MoeBlockLoad *find_load(const MoeLowered *lowered, int step, int layer)
{
    for (guint i = 0; i < lowered->loads->len; i++) {
        const MoeBlockLoad *load = &g_array_index(lowered->loads, MoeBlockLoad, i);
        if (load->step == step && load->layer == layer)
            return load;
    }
    return NULL;
}

static double max_over_mean(const gint64 *loads, gint64 n)
{
    gint64 most = 0, sum = 0;
    for (gint64 i = 0; i < n; i++) {
        most = MAX(most, loads[i]);
        sum += loads[i];
    }
    return sum > 0 ? (double)most * (double)n / (double)sum : 1;
}

static const MoeLink *link_of(const MoeRun *run, int link)
{
    return moe_topology_link(run->scenario->topology, (guint32)link);
}

/* "name,seconds" of the busiest link, or nothing; the line ends. */
static void end_with_link(const MoeRun *run, MoeWriter *writer, int link, double seconds)
{
    if (link < 0) {
        moe_writer_printf(writer, ",,\n");
        return;
    }
    g_autofree char *name = moe_csv_quote(link_of(run, link)->name);
    moe_writer_printf(writer, ",%s,%.12g\n", name, seconds);
}

static int compare_doubles(gconstpointer a, gconstpointer b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void write_quantiles(const MoePhaseTime *p, gint64 n, double *scratch, MoeWriter *writer)
{
    for (gint64 r = 0; r < n; r++)
        scratch[r] = p->ranks[r].end - p->ranks[r].start;
    qsort(scratch, (size_t)n, sizeof(double), compare_doubles);
    moe_writer_printf(writer, ",%.12g,%.12g,%.12g", moe_quantile(scratch, (gsize)n, 0.5),
                      moe_quantile(scratch, (gsize)n, 0.9), moe_quantile(scratch, (gsize)n, 0.99));
}

static gint64 fill_layers(const MoeRun *run, MoeWriter *writer)
{
    moe_writer_printf(writer, "step,layer,phase,start_s,end_s,seconds,rank_mean_s,rank_max_s,bytes,"
                              "max_over_mean,control_s,rank_p50_s,rank_p90_s,rank_p99_s,"
                              "active_s,busiest_link,busiest_link_s\n");
    g_autofree double *scratch = g_new(double, run->result->n_ranks);
    for (guint i = 0; i < run->result->phases->len; i++) {
        const MoePhaseTime *p = &g_array_index(run->result->phases, MoePhaseTime, i);
        moe_writer_printf(writer, "%d,%d,%s,%.12g,%.12g,%.12g,%.12g,%.12g,%" G_GINT64_FORMAT ",",
                          p->step, p->layer, moe_phase_name(p->phase), p->start, p->end, p->seconds,
                          p->mean, p->max, p->bytes);
        const MoeBlockLoad *load =
            p->phase == MOE_PHASE_EXPERTS ? find_load(run->lowered, p->step, p->layer) : NULL;
        if (load != NULL)
            moe_writer_printf(writer, "%.6g", max_over_mean(load->received, run->result->n_ranks));
        moe_writer_printf(writer, ",");
        /* The control has the same phases in the same order. */
        if (run->control != NULL)
            moe_writer_printf(writer, "%.12g",
                              g_array_index(run->control->phases, MoePhaseTime, i).seconds);
        write_quantiles(p, run->result->n_ranks, scratch, writer);
        moe_writer_printf(writer, ",%.12g", p->active);
        end_with_link(run, writer, p->link, p->link_seconds);
    }
    return run->result->phases->len;
}

static gint64 fill_phases(const MoeRun *run, MoeWriter *writer)
{
    moe_writer_printf(writer, "phase,seconds,samples,mean_s,p50_s,p90_s,p99_s,worst_s,bytes,"
                              "messages,active_s,bound_s,bound_kind,busiest_link,busiest_link_s\n");
    g_autoptr(GArray) summaries = moe_result_summaries(run->result, run->scenario->topology);
    for (guint i = 0; i < summaries->len; i++) {
        const MoePhaseSummary *p = &g_array_index(summaries, MoePhaseSummary, i);
        moe_writer_printf(writer,
                          "%s,%.12g,%" G_GINT64_FORMAT ",%.12g,%.12g,%.12g,%.12g,%.12g,"
                          "%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT ",%.12g,%.12g,%s",
                          moe_phase_name(p->phase), p->seconds, p->samples, p->mean, p->p50, p->p90,
                          p->p99, p->worst, p->bytes, p->messages, p->active, p->bound_seconds,
                          p->bound_kind != NULL ? p->bound_kind : "");
        end_with_link(run, writer, p->link, p->link_seconds);
    }
    return summaries->len;
}

static gint64 fill_pairs(const MoeRun *run, MoeWriter *writer)
{
    const MoeResult *result = run->result;
    gint64 rows = 0;
    moe_writer_printf(writer, "phase,fabric,from,to,ranks,bytes,messages\n");
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        for (int f = 0; f < MOE_FABRIC_COUNT; f++) {
            const MoePair *pairs = result->pairs[p][f];
            for (gint64 i = 0; i < result->n_groups * result->n_groups && pairs != NULL; i++) {
                if (pairs[i].messages == 0)
                    continue;
                moe_writer_printf(
                    writer,
                    "%s,%s,%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                    ",%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT "\n",
                    moe_phase_name((MoePhase)p), moe_fabric_name((MoeFabric)f),
                    i / result->n_groups * result->group, i % result->n_groups * result->group,
                    result->group, pairs[i].bytes, pairs[i].messages);
                rows++;
            }
        }
    return rows;
}

static gint64 fill_ranks(const MoeRun *run, MoeWriter *writer)
{
    moe_writer_printf(writer, "step,layer,phase,rank,start_s,end_s,tokens,pairs\n");
    for (guint i = 0; i < run->result->phases->len; i++) {
        const MoePhaseTime *p = &g_array_index(run->result->phases, MoePhaseTime, i);
        const MoeBlockLoad *load = find_load(run->lowered, p->step, p->layer);
        for (gint64 r = 0; r < run->result->n_ranks; r++) {
            moe_writer_printf(writer, "%d,%d,%s,%" G_GINT64_FORMAT ",%.12g,%.12g,", p->step,
                              p->layer, moe_phase_name(p->phase), r, p->ranks[r].start,
                              p->ranks[r].end);
            if (load != NULL)
                moe_writer_printf(writer, "%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT "\n",
                                  load->homes[r], load->received[r]);
            else
                moe_writer_printf(writer, ",\n");
        }
    }
    return run->result->phases->len * run->result->n_ranks;
}

static gint64 fill_links(const MoeRun *run, MoeWriter *writer)
{
    const MoeResult *result = run->result;
    const GArray *links = run->scenario->topology->links;
    moe_writer_printf(writer, "link,fabric,bandwidth_bytes_s,bytes,busy_share,kind");
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        if (result->phase_link_bytes[p] != NULL)
            moe_writer_printf(writer, ",%s_bytes", moe_phase_name((MoePhase)p));
    moe_writer_printf(writer, "\n");
    for (guint l = 0; l < links->len; l++) {
        const MoeLink *link = &g_array_index(links, MoeLink, l);
        double busy = (double)result->link_bytes[l] / link->bandwidth;
        g_autofree char *name = moe_csv_quote(link->name);
        moe_writer_printf(writer, "%s,%s,%.12g,%" G_GINT64_FORMAT ",%.6g,%s", name,
                          moe_fabric_name(link->fabric), link->bandwidth, result->link_bytes[l],
                          result->seconds > 0 ? busy / result->seconds : 0, link->kind);
        for (int p = 0; p < MOE_PHASE_COUNT; p++)
            if (result->phase_link_bytes[p] != NULL)
                moe_writer_printf(writer, ",%" G_GINT64_FORMAT, result->phase_link_bytes[p][l]);
        moe_writer_printf(writer, "\n");
    }
    return links->len;
}

static gint64 fill_experts(const MoeRun *run, MoeWriter *writer)
{
    const MoeModelShape *shape = &run->scenario->model->shape;
    const MoePlacement *placement = run->lowered->placement;
    gint64 E = shape->num_experts;
    moe_writer_printf(writer, "layer,expert,rank,pairs\n");
    for (gint64 layer = 0; layer < shape->num_hidden_layers; layer++) {
        if (!moe_model_has_experts(shape, layer))
            continue;
        g_autofree gint64 *pairs = g_new0(gint64, E);
        for (guint i = 0; i < run->lowered->loads->len; i++) {
            const MoeBlockLoad *load = &g_array_index(run->lowered->loads, MoeBlockLoad, i);
            for (gint64 e = 0; e < E && load->layer == layer; e++)
                pairs[e] += load->experts[e];
        }
        for (gint64 e = 0; e < E; e++)
            moe_writer_printf(writer,
                              "%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT ",%u,%" G_GINT64_FORMAT "\n",
                              layer, e, placement->rank_of[e], pairs[e]);
    }
    return moe_model_moe_layers(shape) * E;
}

static gint64 fill_timeline(const MoeRun *run, MoeWriter *writer)
{
    const MoeTopology *topology = run->scenario->topology;
    moe_writer_printf(writer, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
    for (gint64 r = 0; r < run->result->n_ranks; r++) {
        gint64 node = moe_topology_node(topology, r);
        if (r == moe_topology_machine(topology, node)->first_gpu)
            moe_writer_printf(writer,
                              "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%" G_GINT64_FORMAT
                              ",\"args\":{\"name\":\"node %" G_GINT64_FORMAT "\"}},\n",
                              node, node);
        moe_writer_printf(writer,
                          "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%" G_GINT64_FORMAT
                          ",\"tid\":%" G_GINT64_FORMAT ",\"args\":{\"name\":\"GPU %" G_GINT64_FORMAT
                          "\"}},\n",
                          node, r, r);
    }
    const char *separator = "";
    for (guint i = 0; i < run->result->phases->len; i++) {
        const MoePhaseTime *p = &g_array_index(run->result->phases, MoePhaseTime, i);
        for (gint64 r = 0; r < run->result->n_ranks; r++) {
            if (p->ranks[r].end <= p->ranks[r].start)
                continue;
            moe_writer_printf(writer,
                              "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%" G_GINT64_FORMAT
                              ",\"tid\":%" G_GINT64_FORMAT ",\"ts\":%.6f,\"dur\":%.6f,"
                              "\"args\":{\"step\":%d,\"layer\":%d}}",
                              separator, moe_phase_name(p->phase), moe_topology_node(topology, r),
                              r, p->ranks[r].start * 1e6,
                              (p->ranks[r].end - p->ranks[r].start) * 1e6, p->step, p->layer);
            separator = ",\n";
        }
    }
    moe_writer_printf(writer, "\n]}\n");
    return 0;
}

enum { N_FILES = 7 };
static const struct {
    const char *name;
    Fill fill;
} files[N_FILES] = {
    {"layers.csv", fill_layers},      {"phases.csv", fill_phases}, {"ranks.csv", fill_ranks},
    {"pairs.csv", fill_pairs},        {"links.csv", fill_links},   {"experts.csv", fill_experts},
    {"timeline.json", fill_timeline},
};

/* --- run.json -------------------------------------------------------------------------------- */

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_double(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static void add_int(JsonBuilder *b, const char *name, gint64 value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_strings(JsonBuilder *b, const char *name, const char *const *values)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (; *values != NULL; values++)
        json_builder_add_string_value(b, *values);
    json_builder_end_array(b);
}

static void begin(JsonBuilder *b, const char *name)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
}

/* What no single key holds: groups of nodes and links that differ. */
static void add_differences(const MoeTopology *topology, JsonBuilder *b)
{
    json_builder_set_member_name(b, "groups");
    json_builder_begin_array(b);
    for (guint g = 0; g < topology->groups->len && topology->groups->len > 1; g++) {
        const MoeGroup *group = &g_array_index(topology->groups, MoeGroup, g);
        json_builder_begin_object(b);
        moe_fields_to_json(moe_topology_fields, &group->file, b);
        begin(b, "hardware");
        moe_fields_to_json(moe_gpu_fields, &group->gpu, b);
        json_builder_end_object(b);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_set_member_name(b, "links");
    json_builder_begin_array(b);
    for (guint32 l = 0; l < topology->links->len; l++) {
        const MoeLink *link = moe_topology_link(topology, l);
        if (!link->differs)
            continue;
        json_builder_begin_object(b);
        json_builder_set_member_name(b, "name");
        json_builder_add_string_value(b, link->name);
        json_builder_set_member_name(b, "bandwidth");
        json_builder_add_double_value(b, link->bandwidth);
        json_builder_set_member_name(b, "latency");
        json_builder_add_double_value(b, link->latency);
        json_builder_set_member_name(b, "broken");
        json_builder_add_boolean_value(b, link->broken);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_scenario(const MoeScenario *s, JsonBuilder *b)
{
    begin(b, "scenario");
    moe_fields_to_json(s->fields, &s->file, b);
    begin(b, "topology");
    moe_fields_to_json(moe_topology_fields, &s->topology->file, b);
    add_differences(s->topology, b);
    json_builder_end_object(b);
    begin(b, "kernels");
    moe_kernels_to_json(s->kernels, b);
    json_builder_end_object(b);
    begin(b, "gpu");
    moe_fields_to_json(moe_gpu_fields, &s->topology->gpu, b);
    json_builder_end_object(b);
    json_builder_end_object(b);
    add_int(b, "ranks", s->n_ranks);
}

static gboolean add_inputs(const MoeScenario *s, JsonBuilder *b, GError **error)
{
    const MoeTrace *trace = s->trace;
    if (trace == NULL)
        return TRUE;
    begin(b, "inputs");
    if (s->trace_path != NULL) {
        g_autofree char *digest = moe_file_digest(s->trace_path, error);
        if (digest == NULL)
            return FALSE;
        g_autofree char *name = g_path_get_basename(s->trace_path);
        add_string(b, "trace", name);
        add_string(b, "trace_digest", digest);
    }
    add_string(b, "trace_model", trace->model);
    add_string(b, "trace_weights", trace->weights);
    add_string(b, "trace_router", trace->router);
    add_string(b, "trace_workload", trace->workload);
    if (trace->precision != NULL)
        add_string(b, "trace_precision", trace->precision);
    add_int(b, "trace_tokens", trace->n_tokens);
    add_string(b, "model", s->model->name);
    if (s->model->source != NULL)
        add_string(b, "model_source", s->model->source);
    add_int(b, "model_parameters", moe_model_parameters(&s->model->shape));
    add_int(b, "model_active_parameters", moe_model_active_parameters(&s->model->shape));
    json_builder_end_object(b);
    return TRUE;
}

static void add_totals(const MoeResult *result, const MoeLowered *lowered, JsonBuilder *b,
                       const char *name)
{
    begin(b, name);
    add_double(b, "seconds", result->seconds);
    add_double(b, "max_over_mean", moe_run_imbalance(lowered, -1));
    begin(b, "phase_seconds");
    for (int p = 0; p < MOE_PHASE_COUNT; p++)
        add_double(b, moe_phase_name((MoePhase)p),
                   moe_result_phase_seconds(result, (MoePhase)p, -2));
    json_builder_end_object(b);
    MoeSent dispatch = {0}, combine = {0};
    gint64 pairs = 0, dropped = 0;
    for (guint i = 0; i < lowered->loads->len; i++) {
        const MoeBlockLoad *load = &g_array_index(lowered->loads, MoeBlockLoad, i);
        dispatch.bytes += load->dispatch.bytes;
        dispatch.forwarded_bytes += load->dispatch.forwarded_bytes;
        combine.bytes += load->combine.bytes;
        combine.forwarded_bytes += load->combine.forwarded_bytes;
        pairs += load->pairs;
        dropped += load->dropped;
    }
    if (lowered->algorithm != NULL)
        add_string(b, "algorithm", lowered->algorithm);
    if (lowered->protocol != NULL)
        add_string(b, "protocol", lowered->protocol);
    add_int(b, "dispatch_bytes", dispatch.bytes);
    add_int(b, "dispatch_forwarded_bytes", dispatch.forwarded_bytes);
    add_int(b, "combine_bytes", combine.bytes);
    add_int(b, "combine_forwarded_bytes", combine.forwarded_bytes);
    add_int(b, "pairs", pairs);
    add_int(b, "pairs_dropped", dropped);
    json_builder_end_object(b);
}

/* Readers can tell whether a table is whole. */
static void add_rows(const gint64 rows[N_FILES], JsonBuilder *b)
{
    begin(b, "rows");
    for (size_t i = 0; i < N_FILES; i++)
        if (rows[i] >= 0 && g_str_has_suffix(files[i].name, ".csv"))
            add_int(b, files[i].name, rows[i]);
    json_builder_end_object(b);
}

static gboolean write_json(const MoeRun *run, const gint64 rows[N_FILES], MoeWriter *writer,
                           GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    add_string(b, "format", format);
    add_string(b, "moesim", PACKAGE_VERSION);
    add_scenario(run->scenario, b);
    if (!add_inputs(run->scenario, b, error))
        return FALSE;
    begin(b, "engine");
    add_string(b, "version", moe_engine_version());
    add_strings(b, "settings", moe_engine_settings());
    json_builder_end_object(b);
    add_strings(b, "assumptions", (const char *const *)run->assumptions);
    add_totals(run->result, run->lowered, b, "result");
    if (run->control != NULL)
        add_totals(run->control, run->control_lowered, b, "control");
    add_rows(rows, b);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = moe_json_print(root);
    moe_writer_write(writer, text, strlen(text));
    return TRUE;
}

/* --- the folder ------------------------------------------------------------------------------ */

static gboolean has_file(const MoeRun *run, size_t file)
{
    return files[file].fill != fill_experts || run->scenario->model != NULL;
}

static MoeWriter *add_writer(GPtrArray *writers, const char *path, const char *name, gboolean force,
                             GError **error)
{
    g_autofree char *file = g_build_filename(path, name, NULL);
    MoeWriter *writer = moe_writer_new(file, force, error);
    if (writer != NULL)
        g_ptr_array_add(writers, writer);
    return writer;
}

/* All files under their temporary names, run.json the last of @writers. */
static gboolean write_files(const MoeRun *run, const char *path, gboolean force, GPtrArray *writers,
                            GError **error)
{
    MoeWriter *writer;
    gint64 rows[N_FILES];
    for (size_t i = 0; i < N_FILES; i++) {
        rows[i] = -1;
        if (!has_file(run, i))
            continue;
        if ((writer = add_writer(writers, path, files[i].name, force, error)) == NULL)
            return FALSE;
        rows[i] = files[i].fill(run, writer);
        if (!moe_writer_finish(writer, error))
            return FALSE;
    }
    writer = add_writer(writers, path, "run.json", force, error);
    return writer != NULL && write_json(run, rows, writer, error) &&
           moe_writer_finish(writer, error);
}

/* Files of an earlier run that this one has not. */
static gboolean remove_others(const MoeRun *run, const char *path, GError **error)
{
    for (size_t i = 0; i < N_FILES; i++) {
        g_autofree char *file = g_build_filename(path, files[i].name, NULL);
        if (!has_file(run, i) && g_unlink(file) != 0 && errno != ENOENT)
            return moe_fail(error, MOE_ERROR_FAILED, "%s: cannot be removed: %s", file,
                            g_strerror(errno));
    }
    return TRUE;
}

gboolean moe_folder_write(const MoeRun *run, const char *path, gboolean force, GError **error)
{
    g_autoptr(GPtrArray) writers =
        g_ptr_array_new_with_free_func((GDestroyNotify)moe_writer_cancel);
    if (!moe_folder_prepare(path, force, error) || !write_files(run, path, force, writers, error) ||
        !moe_writer_remove_old(writers->pdata[writers->len - 1], error) ||
        (force && !remove_others(run, path, error)))
        return FALSE;
    while (writers->len > 0)
        if (!moe_writer_close(g_ptr_array_steal_index(writers, 0), error))
            return FALSE;
    return TRUE;
}

gboolean moe_folder_seconds(JsonObject *root, const char *part, const char *file,
                            double *seconds_out, GError **error)
{
    JsonObject *totals = moe_json_get_object(root, part, file, error);
    double seconds;
    if (totals == NULL ||
        !moe_json_get_double(totals, "seconds", -DBL_MAX, DBL_MAX, file, &seconds, error))
        return FALSE;
    if (seconds <= 0 || seconds > MOE_FOLDER_LONGEST)
        return moe_fail(error, MOE_ERROR_INPUT,
                        "%s: %s: seconds is %.6g, and no run takes that; run the scenario again",
                        file, part, seconds);
    *seconds_out = seconds;
    return TRUE;
}

MoeJson *moe_folder_load(const char *path, GError **error)
{
    static const size_t largest = 64 << 20;
    g_autofree char *file = g_build_filename(path, "run.json", NULL);
    if (!g_file_test(file, G_FILE_TEST_EXISTS)) {
        moe_fail(error, MOE_ERROR_INPUT,
                 "%s: holds no run.json; give the folder that moesim run -o wrote", path);
        return NULL;
    }
    g_autoptr(MoeJson) json = moe_json_load(file, largest, error);
    JsonObject *root = json != NULL ? moe_json_object(moe_json_root(json), file, error) : NULL;
    const char *text = root != NULL ? moe_json_get_string(root, "format", file, error) : NULL;
    if (text == NULL)
        return NULL;
    if (strcmp(text, format) != 0) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: format is '%s'; a run of this version says '%s'",
                 file, text, format);
        return NULL;
    }
    return g_steal_pointer(&json);
}
