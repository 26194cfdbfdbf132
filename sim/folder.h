/* folder.h - a run on disk.
 *
 * Layer: sim. Files, all times in seconds and sizes in bytes:
 *
 * - run.json: resolved scenario, digests of the inputs, engine and settings, assumptions, what the
 *   network leaves out, totals, how many rows each CSV file has
 * - layers.csv: step, layer, phase, start_s, end_s, seconds, rank_mean_s, rank_max_s, bytes,
 *   max_over_mean (of the pairs per rank; experts only), control_s (seconds of the same phase under
 *   balanced routing), rank_p50_s, rank_p90_s, rank_p99_s (of the ranks), active_s (from the
 *   first rank's start to the last one's end), busiest_link,
 *   busiest_link_s (its bytes / bandwidth)
 * - phases.csv: phase, seconds, samples (ranks x blocks x steps), mean_s, p50_s, p90_s, p99_s,
 *   worst_s (of the samples), bytes, messages, active_s (summed over blocks and steps), bound_s and
 *   bound_kind (of the busiest link of each block and step: bytes / bandwidth summed, and the kind
 *   that most of it falls to), busiest_link, busiest_link_s (of the whole run)
 * - ranks.csv: step, layer, phase, rank, start_s, end_s, tokens (at home), pairs (to compute)
 * - pairs.csv: phase, fabric, from, to, ranks, bytes, messages: of each hop between two GPUs, over
 *   all blocks and steps; over MOE_PAIRS_MOST ranks each end stands for `ranks` consecutive ones
 * - links.csv: link, fabric, bandwidth_bytes_s, bytes, busy_share (of the run's time at full rate),
 *   kind, PHASE_bytes for every phase that communicates
 * - experts.csv: layer, expert, rank, pairs (over all steps); not of a collective alone
 * - timeline.json: Chrome trace events for ui.perfetto.dev: one process per node, one thread per GPU
 *
 * layer is the block; -1 stands for what is outside of the blocks. `seconds` adds up over a run.
 */
#ifndef MOE_SIM_FOLDER_H
#define MOE_SIM_FOLDER_H

#include "sim/base/json.h"
#include "sim/run.h"

/* Writes the run to the folder @path (see moe_folder_prepare()). Nothing of an earlier run there is
 * touched before all files are complete; its run.json goes first then, with those of the files above
 * that this run has not, and the new one comes last: a folder with a run.json is complete and of one
 * run. Errors: MOE_ERROR_FAILED, MOE_ERROR_INPUT (an input changed or
 * vanished). */
gboolean moe_folder_write(const MoeRun *run, const char *path, gboolean force,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The longest time of a run or a part of it that is believed, s. */
#define MOE_FOLDER_LONGEST 1e12

/* The time of the run (@part "result") or of its balanced control ("control") in @root, the run.json
 * called @file, s. Errors: MOE_ERROR_INPUT (also for what no run can take). */
gboolean moe_folder_seconds(JsonObject *root, const char *part, const char *file,
                            double *seconds_out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The run.json of the run in the folder @path; its format is known, the rest is not looked at. Free
 * with moe_json_free(). Errors: MOE_ERROR_INPUT; NULL then. */
MoeJson *moe_folder_load(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif
