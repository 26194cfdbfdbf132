#include "config.h"

#include "sim/base/yaml.h"

#include "sim/base/file.h"
#include "sim/base/text.h"

#include <string.h>
#include <yaml.h>

enum { LARGEST_BYTES = 16 << 20, MOST_KEYS = 10000 };

typedef struct {
    yaml_parser_t parser;
    const char *name;
    GError **error;
} Reader;

static gboolean fail_at(const Reader *reader, yaml_mark_t mark, const char *message)
{
    return moe_fail(reader->error, MOE_ERROR_INPUT, "%s:%d:%d: %s", reader->name,
                    (int)mark.line + 1, (int)mark.column + 1, message);
}

static gboolean next_event(Reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return TRUE;
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "not valid YAML";
    if (parser->error == YAML_READER_ERROR)
        return moe_fail(reader->error, MOE_ERROR_INPUT, "%s: byte %zu: %s", reader->name,
                        parser->problem_offset, problem);
    g_autofree char *message = parser->context != NULL
                                   ? g_strdup_printf("%s %s", problem, parser->context)
                                   : g_strdup(problem);
    return fail_at(reader, parser->problem_mark, message);
}

/* Why a node with this anchor or tag is refused; NULL when it has none. */
static const char *refusal(const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL)
        return "anchors (&) are not supported; write the value again";
    return tag != NULL ? "tags (!) are not supported; delete the tag" : NULL;
}

static MoeNode *read_value(Reader *reader, yaml_event_t *event, int depth);

static MoeNode *read_scalar(Reader *reader, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) {
        fail_at(reader, event->start_mark, "a string must not contain a NUL character");
        return NULL;
    }
    MoeNode *node =
        moe_node_new(MOE_NODE_SCALAR, text, reader->name, (int)event->start_mark.line + 1,
                     (int)event->start_mark.column + 1);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

static MoeNode *read_key(Reader *reader, const yaml_event_t *event)
{
    const char *complaint = "a key must be a plain word";
    if (event->type == YAML_SCALAR_EVENT)
        complaint = refusal(event->data.scalar.anchor, event->data.scalar.tag);
    MoeNode *key = complaint == NULL ? read_scalar(reader, event) : NULL;
    if (key != NULL && !key->quoted && strcmp(key->text, "<<") == 0) {
        complaint = "merge keys (<<) are not supported; write the keys again";
        g_clear_pointer(&key, moe_node_free);
    }
    if (complaint != NULL)
        fail_at(reader, event->start_mark, complaint);
    return key;
}

static gboolean read_entry(Reader *reader, MoeNode *node, yaml_event_t *event, int depth)
{
    MoeNode *key = NULL;
    if (node->kind == MOE_NODE_MAP) {
        if (node->keys->len >= MOST_KEYS)
            return fail_at(reader, event->start_mark, "more than 10000 keys in one map");
        key = read_key(reader, event);
        if (key == NULL)
            return FALSE;
        yaml_event_delete(event);
        if (!next_event(reader, event)) {
            moe_node_free(key);
            memset(event, 0, sizeof(*event));
            return FALSE;
        }
    }
    MoeNode *item = read_value(reader, event, depth + 1);
    if (item == NULL) {
        moe_node_free(key);
        return FALSE;
    }
    return moe_node_append_take(node, key, item, reader->error);
}

static MoeNode *read_collection(Reader *reader, const yaml_event_t *start, int depth)
{
    gboolean map = start->type == YAML_MAPPING_START_EVENT;
    if (depth > MOE_NODE_DEEPEST) {
        fail_at(reader, start->start_mark, "nested deeper than 32 levels");
        return NULL;
    }
    MoeNode *node =
        moe_node_new(map ? MOE_NODE_MAP : MOE_NODE_LIST, NULL, reader->name,
                     (int)start->start_mark.line + 1, (int)start->start_mark.column + 1);
    for (;;) {
        yaml_event_t event;
        if (!next_event(reader, &event))
            break;
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return node;
        }
        gboolean good = read_entry(reader, node, &event, depth);
        yaml_event_delete(&event);
        if (!good)
            break;
    }
    moe_node_free(node);
    return NULL;
}

static MoeNode *read_value(Reader *reader, yaml_event_t *event, int depth)
{
    const char *complaint = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        complaint = refusal(event->data.scalar.anchor, event->data.scalar.tag);
        if (complaint == NULL)
            return read_scalar(reader, event);
        break;
    case YAML_MAPPING_START_EVENT:
        complaint = refusal(event->data.mapping_start.anchor, event->data.mapping_start.tag);
        if (complaint == NULL)
            return read_collection(reader, event, depth);
        break;
    case YAML_SEQUENCE_START_EVENT:
        complaint = refusal(event->data.sequence_start.anchor, event->data.sequence_start.tag);
        if (complaint == NULL)
            return read_collection(reader, event, depth);
        break;
    case YAML_ALIAS_EVENT:
        complaint = "aliases (*) are not supported; write the value again";
        break;
    default:
        complaint = "a value is missing here";
    }
    fail_at(reader, event->start_mark, complaint);
    return NULL;
}

/* The root; an empty map when there is no document or nothing in it. */
static MoeNode *read_document(Reader *reader)
{
    MoeNode *root = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next_event(reader, &event))
            break;
        yaml_event_type_t type = event.type;
        gboolean good = TRUE;
        if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
            good = fail_at(reader, event.start_mark, "a second document; write one per file");
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
                   type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT) {
            root = read_value(reader, &event, 1);
            good = root != NULL;
        }
        yaml_event_delete(&event);
        if (!good)
            break;
        if (type == YAML_STREAM_END_EVENT) {
            if (root != NULL &&
                (root->kind != MOE_NODE_SCALAR || root->quoted || *root->text != '\0'))
                return root;
            moe_node_free(root);
            return moe_node_new(MOE_NODE_MAP, NULL, reader->name, 1, 1);
        }
    }
    moe_node_free(root);
    return NULL;
}

MoeNode *moe_yaml_parse(const char *text, size_t length, const char *name, GError **error)
{
    if (length > LARGEST_BYTES) {
        moe_fail(error, MOE_ERROR_INPUT, "%s: larger than 16 MiB, which no configuration is", name);
        return NULL;
    }
    text = moe_text_skip_mark(text, &length);
    Reader reader = {.name = name, .error = error};
    if (!yaml_parser_initialize(&reader.parser))
        g_error("libyaml: out of memory");
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    MoeNode *root = read_document(&reader);
    yaml_parser_delete(&reader.parser);
    return root;
}

MoeNode *moe_yaml_load(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    size_t length;
    if (!moe_file_read(path, LARGEST_BYTES, &text, &length, error))
        return NULL;
    return moe_yaml_parse(text, length, path, error);
}
