/* import_arrays.h - arrays of expert ids, wherever they were stored, on their way into a trace.
 *
 * Layer: workloads. Each format has one function that opens a file as a list of arrays; the table in
 * import_arrays.c names them, and makes the trace of what they open.
 */
#ifndef MOE_WORKLOADS_IMPORT_ARRAYS_H
#define MOE_WORKLOADS_IMPORT_ARRAYS_H

#include "workloads/import.h"
#include "workloads/npy.h"

/* The ids of some consecutive tokens: id (t, l, j) is element t * token_stride + l * layer_stride + j
 * of @ids. */
typedef struct {
    char *name;  /* of the file and its part, for messages */
    MoeNpy *ids; /* integers */
    gint64 n_tokens, n_layers, top_k;
    gint64 token_stride, layer_stride;
    gboolean padded; /* -1 stands where there is no expert */
    MoeNpy *map;     /* [n_layers, slots]: the expert that each id stands for; NULL: itself */
} MoeIdArray;

/* Takes @ids. Free with moe_id_array_free(). */
MoeIdArray *moe_id_array_new(const char *name, MoeNpy *ids);
void moe_id_array_free(MoeIdArray *array);

/* Takes @ids, which must be integers [token, layer, rank], or with @layers_first [layer, token,
 * rank], and appends them to @arrays. Errors: MOE_ERROR_INPUT; @ids is freed then too. */
gboolean moe_import_add(GPtrArray *arrays, const char *name, MoeNpy *ids, gboolean layers_first,
                        GError **error);

/* Open the file at @path and append its arrays to @arrays (MoeIdArray *).
 * .npy: one; .npz: one per member, in the archive's order.
 * .jsonl: one per line, a server's response as JSON (see import_jsonl.c).
 * .safetensors: one, of SGLang's expert distribution recorder or alike (see import_safetensors.c).
 * .pt: none: an error that says how to convert the file.
 * Errors: MOE_ERROR_INPUT, with the file and the line or member. */
gboolean moe_import_open_npy(const char *path, const MoeImport *import, GPtrArray *arrays,
                             GError **error);
gboolean moe_import_open_npz(const char *path, const MoeImport *import, GPtrArray *arrays,
                             GError **error);
gboolean moe_import_open_jsonl(const char *path, const MoeImport *import, GPtrArray *arrays,
                               GError **error);
gboolean moe_import_open_safetensors(const char *path, const MoeImport *import, GPtrArray *arrays,
                                     GError **error);
gboolean moe_import_open_pt(const char *path, const MoeImport *import, GPtrArray *arrays,
                            GError **error);

#endif
