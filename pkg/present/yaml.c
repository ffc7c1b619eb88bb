/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON tree as YAML, through libyaml's emitter. */
#include "present/present_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <yaml.h>

static void cleanup_emitter(yaml_emitter_t *emitter)
{
        yaml_emitter_delete(emitter);
}

static int write_text(void *data, unsigned char *buffer, size_t size)
{
        strbuf_add_n(data, (const char *)buffer, size);
        return 1;
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Would every YAML reader take the bare text for a string? Anything that looks like a number, a truth value of YAML 1.1 or
 * a null is quoted. */
static bool is_plain(const char *s)
{
        static const char *const words[] = { "true", "false", "yes", "no", "on", "off", "y", "n", "null" };

        if (!is_letter(s[0]))
                return false;
        for (const char *p = s; *p; p++)
                if (!is_letter(*p) && !(*p >= '0' && *p <= '9') && !strchr("_-./", *p))
                        return false;
        for (size_t i = 0; i < N_ELEMENTS(words); i++)
                if (strcasecmp(s, words[i]) == 0)
                        return false;
        return true;
}

static bool emit(yaml_emitter_t *emitter, bool made, yaml_event_t *event)
{
        return made && yaml_emitter_emit(emitter, event); /* emit owns the event, also when it fails */
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
        yaml_event_t event;
        int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1, style);

        return emit(emitter, made, &event);
}

static bool emit_string(yaml_emitter_t *emitter, const char *text)
{
        return emit_scalar(emitter, text, is_plain(text) ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *value);

static bool emit_object(yaml_emitter_t *emitter, const json_t *object)
{
        yaml_event_t event;
        const char *key;
        json_t *value;

        if (!emit(emitter, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE), &event))
                return false;
        json_object_foreach((json_t *)object, key, value) if (!emit_string(emitter, key) || !emit_value(emitter, value)) return false;
        return emit(emitter, yaml_mapping_end_event_initialize(&event), &event);
}

static bool emit_array(yaml_emitter_t *emitter, const json_t *array)
{
        yaml_event_t event;

        if (!emit(emitter, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE), &event))
                return false;
        for (size_t i = 0; i < json_array_size(array); i++)
                if (!emit_value(emitter, json_array_get(array, i)))
                        return false;
        return emit(emitter, yaml_sequence_end_event_initialize(&event), &event);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *value)
{
        char number[32];

        switch (json_typeof(value)) {
        case JSON_OBJECT:
                return emit_object(emitter, value);
        case JSON_ARRAY:
                return emit_array(emitter, value);
        case JSON_STRING:
                return emit_string(emitter, json_string_value(value));
        case JSON_TRUE:
        case JSON_FALSE:
                return emit_scalar(emitter, json_is_true(value) ? "true" : "false", YAML_PLAIN_SCALAR_STYLE);
        case JSON_INTEGER:
                (void)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
                return emit_scalar(emitter, number, YAML_PLAIN_SCALAR_STYLE);
        case JSON_NULL:
                return emit_scalar(emitter, "null", YAML_PLAIN_SCALAR_STYLE);
        default: /* no fractions in what we show */
                return false;
        }
}

static bool emit_document(yaml_emitter_t *emitter, const json_t *tree)
{
        yaml_event_t event;

        return emit(emitter, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event) &&
               emit(emitter, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event) && emit_value(emitter, tree) &&
               emit(emitter, yaml_document_end_event_initialize(&event, 1), &event) &&
               emit(emitter, yaml_stream_end_event_initialize(&event), &event);
}

int tree_yaml(const json_t *tree, struct strbuf *out, struct err *err)
{
        _cleanup_strbuf_ struct strbuf text = { 0 };
        _cleanup_(cleanup_emitter) yaml_emitter_t emitter;

        if (!yaml_emitter_initialize(&emitter))
                return err_set(err, ENOMEM, "cannot write YAML");
        yaml_emitter_set_output(&emitter, write_text, &text);
        yaml_emitter_set_unicode(&emitter, 1);
        yaml_emitter_set_width(&emitter, -1);
        if (!emit_document(&emitter, tree))
                return err_say(err, EIO, "cannot write YAML: %s", emitter.problem ? emitter.problem : "a value without form");
        strbuf_add_n(out, text.text, text.len);
        return 0;
}
