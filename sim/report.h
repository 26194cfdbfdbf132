/* report.h - a run as a table to read.
 *
 * Layer: sim.
 */
#ifndef MOE_SIM_REPORT_H
#define MOE_SIM_REPORT_H

#include "sim/run.h"

/* Appends to @text: what was simulated; per block and in total the time of attention, dispatch,
 * experts, combine and the rest, the imbalance of the ranks, and, with a control, how much longer
 * than under balanced routing; where the imbalance costs most; per kind of phase the distribution of
 * the ranks' times and what limits it; what is left out; with @verbose every assumption. Of a
 * collective alone: time, rates, rounds, messages. */
void moe_report(const MoeRun *run, gboolean verbose, GString *text);

#endif
