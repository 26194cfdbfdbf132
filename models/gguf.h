/* gguf.h - reads the GGUF format: metadata by key, and tensors.
 *
 * Layer: models. Format: versions 2 and 3, little-endian (github.com/ggml-org/ggml, docs/gguf.md):
 * magic, version, number of tensors, number of keys; key, type and value of each; name, dimensions,
 * type and offset of each tensor; padding to general.alignment (32); the tensors' data, each padded
 * likewise. Read by mmap; nothing is believed before it is checked, and what lies is refused with
 * the byte where it stands.
 */
#ifndef MOE_MODELS_GGUF_H
#define MOE_MODELS_GGUF_H

#include "models/tensor.h"

/* As numbered in the file. */
typedef enum {
    MOE_GGUF_UINT8,
    MOE_GGUF_INT8,
    MOE_GGUF_UINT16,
    MOE_GGUF_INT16,
    MOE_GGUF_UINT32,
    MOE_GGUF_INT32,
    MOE_GGUF_FLOAT32,
    MOE_GGUF_BOOL,
    MOE_GGUF_STRING,
    MOE_GGUF_ARRAY,
    MOE_GGUF_UINT64,
    MOE_GGUF_INT64,
    MOE_GGUF_FLOAT64,
    MOE_GGUF_TYPE_COUNT
} MoeGgufType;

typedef struct {
    const char *key;
    MoeGgufType type; /* of the value, or of the items of an array; never MOE_GGUF_ARRAY */
    gboolean is_array;
    gsize n;            /* items; 1 unless it is an array */
    gsize offset;       /* of the value in the file */
    const guint8 *data; /* as it is there, unaligned: items, or strings with their lengths before */
} MoeGgufValue;

typedef struct MoeGguf MoeGguf;

/* Opens @path and checks all of its header: versions, counts, lengths and types that fit in the
 * file; keys and tensors' names that are UTF-8 and there once; shapes of 1 to 4 positive dimensions
 * that fill their data; whole blocks; data one after the other, inside the file. Arrays of arrays
 * are refused, as are tensors' types that moesim does not read. Free with moe_gguf_free(). Errors:
 * MOE_ERROR_INPUT, "PATH: byte N: what"; NULL then. */
MoeGguf *moe_gguf_open(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void moe_gguf_free(MoeGguf *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MoeGguf, moe_gguf_free)

/* What is in the file, in its order; the value of @key, or NULL; the path. Borrowed. The dimensions
 * of tensors are row-major, as everywhere else here: the reverse of the file's. */
const MoeGgufValue *moe_gguf_values(const MoeGguf *file, guint *n_out);
const MoeGgufValue *moe_gguf_find(const MoeGguf *file, const char *key);
const MoeTensor *moe_gguf_tensors(const MoeGguf *file, guint *n_out);
const MoeTensor *moe_gguf_tensor(const MoeGguf *file, const char *name);
const char *moe_gguf_path(const MoeGguf *file);

/* As moe_file_release(). */
void moe_gguf_release(const MoeGguf *file);

/* Sets MOE_ERROR_INPUT with the path and the byte of @value before the message, and its key.
 * Always returns FALSE. */
gboolean moe_gguf_fail(const MoeGguf *file, const MoeGgufValue *value, GError **error,
                       const char *format, ...) G_GNUC_PRINTF(4, 5);

/* Item @i as text: a number in the fewest digits that give it back, true or false, or the string.
 * Not for items of arrays of strings but the first. Free with g_free(). */
char *moe_gguf_text(const MoeGgufValue *value, gsize i);

/* The integer @key, or @fallback where it is not there. Errors: MOE_ERROR_INPUT, not an integer
 * from @min to @max. */
gboolean moe_gguf_int(const MoeGguf *file, const char *key, gint64 min, gint64 max, gint64 fallback,
                      gint64 *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The string @key, or NULL where it is not there; the caller frees it. Errors: MOE_ERROR_INPUT, it
 * is not a string or holds a NUL. */
gboolean moe_gguf_string(const MoeGguf *file, const char *key, char **out,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The items of an array of strings, char *, then NULL. Errors: MOE_ERROR_INPUT, it is not one, or an
 * item holds a NUL; NULL then. */
GPtrArray *moe_gguf_strings(const MoeGguf *file, const MoeGgufValue *value,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether @path is called like a GGUF file. */
gboolean moe_gguf_is_name(const char *path);

/* Opens all files of a model, MoeGguf * freed by the array: @path, or, when it is a part of a model
 * in several (NAME-00001-of-00003.gguf, as llama.cpp splits them), all of them, the first first. A
 * folder stands for what it holds, which must be one model. Metadata are the first one's. Errors:
 * MOE_ERROR_INPUT (also split.count that differs from the files' names); NULL then. */
GPtrArray *moe_gguf_open_model(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The tensor @name in any of @files, or NULL. */
const MoeTensor *moe_gguf_model_tensor(const GPtrArray *files, const char *name);

#endif
