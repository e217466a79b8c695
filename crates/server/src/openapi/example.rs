//! Examples, composed from the schemas: what a field says of itself, and otherwise a value of
//! its type. So none can disagree with what is answered.

use serde_json::{Map, Value, json};

/// No answer is nested deeper.
const MAX_DEPTH: usize = 32;

/// Where nothing is known of a text.
const UNKNOWN_TEXT: &str = "text";
const ID: &str = "0198f000-0000-7000-8000-00009015b697";
const TIME: &str = "2026-01-31T12:00:00Z";

/// What texts in fields of these names are like.
const TEXTS: [(&str, &str); 19] = [
    ("changed_by", "ann@10.0.0.7"),
    ("created_by", "ann@10.0.0.7"),
    ("decided_by", "ann@10.0.0.7"),
    ("updated_by", "ann@10.0.0.7"),
    ("by", "ann@10.0.0.7"),
    ("reason", "the night's backup"),
    ("error_type", "file_missing"),
    ("last_error_type", "file_missing"),
    ("event_type", "workflow_completed"),
    ("processing_stage", "hash"),
    ("severity", "medium"),
    ("host", "worker-1"),
    ("server", "MariaDB 10.11.14"),
    ("version", "0.1.0"),
    ("video_id", "1ab0f3c2"),
    ("project", "project-7"),
    ("status", "uploaded"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("sentence", "2 workers on 4 batches: 310 rows/s."),
];

/// An example of `schema`, whose references are into `schemas`.
pub(super) fn of(schema: &Value, schemas: &Value) -> Value {
    compose(schema, schemas, 0)
}

fn compose(schema: &Value, schemas: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let inner = |schema: &Value| compose(schema, schemas, depth + 1);
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return inner(&schemas[name]);
    }
    for given in
        [&schema["example"], &schema["examples"][0], &schema["default"], &schema["enum"][0]]
    {
        if !given.is_null() {
            return given.clone();
        }
    }
    for one_of in ["oneOf", "anyOf"] {
        let mut choices = schema[one_of].as_array().into_iter().flatten();
        if let Some(choice) = choices.find(|choice| choice["type"] != "null") {
            return inner(choice);
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().filter_map(|part| inner(part).as_object().cloned());
        return Value::Object(parts.flatten().collect());
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null"),
        kind => Some(kind),
    };
    match kind.and_then(Value::as_str) {
        Some("string") => text(schema),
        Some("integer") => schema["minimum"].as_u64().map_or_else(|| json!(1), Value::from),
        Some("number") => json!(1.5),
        Some("boolean") => json!(true),
        Some("array") => json!([inner(&schema["items"])]),
        Some("object") => object(schema, inner),
        _ => json!({}),
    }
}

fn text(schema: &Value) -> Value {
    match schema["format"].as_str() {
        Some("uuid") => json!(ID),
        Some("date-time") => json!(TIME),
        _ => json!(UNKNOWN_TEXT),
    }
}

fn object(schema: &Value, inner: impl Fn(&Value) -> Value) -> Value {
    let mut object = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let usual = TEXTS.iter().find(|(field, _)| field == name).map(|(_, text)| json!(text));
        let value = inner(property);
        object.insert(name.clone(), usual.filter(|_| value == UNKNOWN_TEXT).unwrap_or(value));
    }
    if let Some(property) = schema.get("additionalProperties").filter(|of| of.is_object()) {
        object.insert("name".to_owned(), inner(property));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_what_the_schema_says() {
        let schemas = json!({
            "Run": {
                "allOf": [
                    { "type": "object", "properties": { "id": { "type": "string", "format": "uuid" } } },
                    { "type": "object", "properties": {
                        "reason": { "type": ["string", "null"], "example": "the night's backup" },
                        "state": { "$ref": "#/components/schemas/State" },
                        "rows": { "type": "integer", "minimum": 0 },
                        "next": { "oneOf": [{ "type": "null" }, { "type": "string" }] },
                    } },
                ],
            },
            "State": { "type": "string", "enum": ["planning", "running"] },
        });
        let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Run" } });
        let expected = json!([{
            "id": ID,
            "reason": "the night's backup",
            "state": "planning",
            "rows": 0,
            "next": "text",
        }]);
        assert_eq!(of(&schema, &schemas), expected);
    }

    #[test]
    fn a_schema_within_itself_ends() {
        let schemas = json!({
            "A": { "type": "object", "properties": { "a": { "$ref": "#/components/schemas/A" } } },
        });
        assert!(of(&json!({ "$ref": "#/components/schemas/A" }), &schemas).is_object());
    }
}
