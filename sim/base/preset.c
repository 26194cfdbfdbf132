#include "config.h"

#include "sim/base/preset.h"

#include "sim/base/file.h"

#include <string.h>

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **moe_preset_list(const char *kind, const char *suffix)
{
    g_autofree char *path = g_build_filename(moe_data_dir(), kind, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;
    while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *full = g_build_filename(path, name, NULL);
        if (g_str_has_suffix(name, suffix) &&
            (*suffix != '\0' || g_file_test(full, G_FILE_TEST_IS_DIR)))
            g_ptr_array_add(names, g_strndup(name, strlen(name) - strlen(suffix)));
    }
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

char *moe_preset_find(const char *name, const char *kind, const char *suffix, const char *what,
                      const char *base_dir, GError **error)
{
    g_autofree char *path = g_path_is_absolute(name) || base_dir == NULL
                                ? g_strdup(name)
                                : g_build_filename(base_dir, name, NULL);
    if (strchr(name, '/') != NULL || strchr(name, '.') != NULL) {
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&path);
    }
    g_autofree char *file = g_strconcat(name, suffix, NULL);
    g_autofree char *preset = g_build_filename(moe_data_dir(), kind, file, NULL);
    if (*name != '\0' && strchr(name, '/') == NULL && g_file_test(preset, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&preset);
    if (*name != '\0' && g_file_test(path, G_FILE_TEST_EXISTS))
        return g_steal_pointer(&path);
    g_auto(GStrv) names = moe_preset_list(kind, suffix);
    const char *nearest = moe_nearest(name, (const char *const *)names);
    g_autofree char *all = g_strjoinv(", ", names);
    if (nearest != NULL)
        moe_fail(error, MOE_ERROR_INPUT,
                 "'%s' is neither a file nor a preset %s; did you mean %s? (%s)", name, what,
                 nearest, all);
    else
        moe_fail(error, MOE_ERROR_INPUT,
                 "'%s' is neither a file nor a preset %s; the presets are: %s", name, what, all);
    return NULL;
}
