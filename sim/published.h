/* published.h - published measurements as data: a case of `moesim validate`.
 *
 * Layer: sim. A case is a YAML file beside a CSV with the figures as they were published:
 *
 *     description: one line
 *     source: where the figures are from, and on what they were measured
 *     notes: what a reader must know
 *     measured: kernel.csv              # beside this file
 *     scenario: {...}                   # the keys of a scenario that all rows share
 *     columns:                          # what a row says of the scenario
 *       ep: plan.expert
 *       elements: {key: collective.bytes, times: 2, unit: B}
 *       path: {key: dispatch.algorithm, values: {rdma: a, nvlink: b}}
 *       dtype: [dispatch.dtype, combine.dtype]
 *     compare:                          # what a row measured
 *       - {column: dispatch_us, phase: dispatch, unit: us}
 *       - {column: dispatch_gbps, phase: dispatch, unit: GBps, bytes: node-copies,
 *          where: {bottleneck: rdma}}
 *     rows:                             # a row belongs to the first group that it satisfies
 *       - {name: as published, where: {commit: 3b1045d}, mean: 5%, worst: 10%}
 *       - {name: superseded, counted: false, why: older kernels}
 *     fitted: [{commit: 3b1045d}]       # the rows that constants of presets were fitted on
 *
 * A condition ("where") names columns and what stands there: a text, a list of texts, or one of
 * "< 1", "<= 1", "> 1", ">= 1"; all of it must hold.
 */
#ifndef MOE_SIM_PUBLISHED_H
#define MOE_SIM_PUBLISHED_H

#include "sim/base/field.h"

/* In what a figure is written; rates are 10^9 bytes per second of the bytes that MoePublishedBytes
 * counts. */
typedef enum {
    MOE_PUBLISHED_SECONDS,
    MOE_PUBLISHED_MS,
    MOE_PUBLISHED_US,
    MOE_PUBLISHED_GBPS
} MoePublishedUnit;

/* Which bytes a published rate counts, per rank (the mean of all ranks), those that a rank sends to
 * itself included. Copies are of tokens, as many bytes each as the phase's dtype says. */
typedef enum {
    MOE_PUBLISHED_PAIRS,       /* a copy per (token, expert) */
    MOE_PUBLISHED_GPU_COPIES,  /* per (token, GPU with a chosen expert) */
    MOE_PUBLISHED_NODE_COPIES, /* per (token, node with a chosen expert) */
    MOE_PUBLISHED_SENT,        /* what the simulation sends, forwarding included */
    MOE_PUBLISHED_BYTES_COUNT
} MoePublishedBytes;

/* One column of figures. */
typedef struct {
    char *column;
    const MoeNode *where;
    int phase; /* MoePhase, or MOE_PHASE_COUNT: the whole run */
    int unit;  /* MoePublishedUnit */
    int bytes; /* MoePublishedBytes */
    guint cell;
    GArray *conditions;
} MoePublishedFigure;

/* Rows that are judged together. */
typedef struct {
    char *name, *why;
    const MoeNode *where;
    gboolean counted;
    double mean, worst; /* bounds of |simulated / measured - 1|; NaN: none */
    GArray *conditions;
} MoePublishedGroup;

typedef struct {
    char **cells; /* one per column name of the case */
    gint64 line;  /* in the CSV */
    int group;    /* -1: in none */
    gboolean fitted;
} MoePublishedRow;

typedef struct {
    char *description, *source, *notes, *measured;
    const MoeNode *scenario, *columns, *compare, *rows, *fitted;
} MoePublishedFile;

typedef struct {
    char *name, *path, *csv_path;
    MoeNode *root;
    MoePublishedFile file;
    GPtrArray *names;  /* char *: the columns that the case mentions */
    guint n_settings;  /* how many of them, the first, set keys of the scenario */
    GArray *settings;  /* what they set; of published.c */
    GArray *figures;   /* MoePublishedFigure */
    GArray *groups;    /* MoePublishedGroup */
    GPtrArray *fitted; /* GArray * of conditions */
    GPtrArray *rows;   /* MoePublishedRow *, in the order of the file */
} MoePublished;

extern const MoeField moe_published_fields[], moe_published_figure_fields[],
    moe_published_group_fields[];

/* Reads the case in the file @path, and its rows from @measured (NULL: from the CSV that it names);
 * rows of another CSV are none that constants were fitted on, and all of them are judged: by the
 * first counted group that they satisfy, else by the first counted one. Free with
 * moe_published_free(). Errors: MOE_ERROR_INPUT "file:line:column: key: what", "file:line: column:
 * what"; NULL then. */
MoePublished *moe_published_load(const char *path, const char *measured,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_published_free(MoePublished *published);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoePublished, moe_published_free)

/* What @row sets of the scenario: "key=value", NULL-terminated. Free with g_strfreev(). Errors:
 * MOE_ERROR_INPUT, "file:line: column: what"; NULL then. */
char **moe_published_settings(const MoePublished *published, const MoePublishedRow *row,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The figure of @row, in the unit that it was published in; NaN when the row has none: the cell is
 * empty, or the figure is of other rows. */
double moe_published_value(const MoePublishedFigure *figure, const MoePublishedRow *row);

#endif
