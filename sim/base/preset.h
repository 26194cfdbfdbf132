/* preset.h - finds the file that a name in a scenario or on the command line means.
 *
 * Layer: sim/base.
 */
#ifndef MOE_BASE_PRESET_H
#define MOE_BASE_PRESET_H

#include "sim/base/error.h"

/* Resolves @name: what exists under a name with a '/' or a '.' in it, else the preset
 * <data>/<kind>/<name><suffix>, else what exists under a plain name. Names are relative to
 * @base_dir (NULL: the working folder). A preset goes before a plain name so that a stray file
 * does not change what a scenario means.
 * @kind is a folder such as "topologies/presets", @suffix ".yaml" or "" for folders; @what is how
 * messages call it ("topology").
 * Returns a path to free with g_free(), or NULL with MOE_ERROR_INPUT that lists the presets. */
char *moe_preset_find(const char *name, const char *kind, const char *suffix, const char *what,
                      const char *base_dir, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The names of the presets in @kind, sorted, NULL-terminated. Free with g_strfreev(). */
char **moe_preset_list(const char *kind, const char *suffix);

#endif
