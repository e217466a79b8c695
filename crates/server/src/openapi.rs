//! The OpenAPI document: what the routes say of themselves, completed by what holds for all.

mod example;

use serde_json::{Value, json};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::access;
use crate::problem::Problem;

/// Bearer tokens, which scripts give; browsers have a session.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        components.add_security_scheme("bearer", bearer);
    }
}

/// Where the document begins; routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "reelshift",
        description = "How a migration stands, and everything that controls it."
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
    security(("bearer" = [])),
    servers((url = "/", description = "This server")),
    tags(
        (name = "status", description = "The whole migration at a glance"),
        (name = "runs", description = "Runs: enqueued, followed, paused, resumed, cancelled, and their failed work again"),
        (name = "batches", description = "What the fleet does, piece by piece"),
        (name = "workers", description = "Who is there, and what each does"),
        (name = "errors", description = "What failed and why"),
        (name = "quarantine", description = "Rows and files that were set aside"),
        (name = "controls", description = "Settings and the pause of the whole fleet"),
        (name = "flags", description = "Feature flags of the platform's application"),
        (name = "phases", description = "Applying a phase; what that, or taking everything back, would do"),
        (name = "validation", description = "Every row compared with what it must hold"),
        (name = "notifications", description = "From the platform's queue to its subscribers"),
        (name = "audit", description = "Who changed what"),
        (name = "videos", description = "What the application asks for"),
        (name = "access", description = "Who one is; logging in and out"),
        (name = "probes", description = "For orchestrators and Prometheus"),
    )
)]
pub(crate) struct Api;

/// The methods that an operation can have, and whether they only read.
const METHODS: [(&str, bool); 6] = [
    ("get", true),
    ("head", true),
    ("post", false),
    ("put", false),
    ("patch", false),
    ("delete", false),
];

/// The document with what every operation may answer, who may ask for it, and examples.
pub(crate) fn complete(document: &Document) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    rename_pages(&mut document);
    let schemas = document["components"]["schemas"].clone();
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, reads) in METHODS {
            if let Some(operation) = item.get_mut(method) {
                refusals(operation, path, reads);
                if !reads && path.starts_with("/api/") {
                    idempotent(operation);
                }
                examples(operation, &schemas);
            }
        }
    }
    document
}

/// A page of runs is a `RunPage` of `Run`s: the names that they have in a generated client.
fn rename_pages(document: &mut Value) {
    const PREFIX: &str = "Page_";
    let Some(schemas) = document["components"]["schemas"].as_object() else { return };
    let names: Vec<String> =
        schemas.keys().filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned)).collect();
    let mut text = document.to_string();
    for of in &names {
        let (old, new) = (format!("{PREFIX}{of}"), format!("{of}Page"));
        text = text.replace(&format!("/{old}\""), &format!("/{new}\""));
        text = text.replace(&format!("\"{old}\":"), &format!("\"{new}\":"));
    }
    let Ok(mut renamed) = serde_json::from_str::<Value>(&text) else { return };
    for of in names {
        let item = json!({ "$ref": format!("#/components/schemas/{of}") });
        renamed["components"]["schemas"][format!("{of}Page")]["properties"]["items"]["items"] =
            item;
    }
    *document = renamed;
}

fn problem(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": schema } },
    })
}

/// Who may ask, by the rule, which is by method; and what else may be wrong.
fn refusals(operation: &mut Value, path: &str, reads: bool) {
    let public = operation["security"] == json!([{}]);
    let has_body = operation["requestBody"].is_object();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut add = |status: &str, description: &str| {
        responses.entry(status).or_insert_with(|| problem(description));
    };
    if !public {
        let role = access::guard::needed_role(reads, path).into_str();
        add("401", "A valid token is needed");
        add("403", &format!("The role {role} is needed"));
        add(
            "429",
            "Too many wrong tokens came from this address: Retry-After says when to try again",
        );
    }
    if path.starts_with("/api/") || path.starts_with("/videos/") {
        add("400", "A parameter is unknown or has a value that it cannot have");
        add("409", "This is refused as things stand: expand is not applied, for example");
        add("503", "The database does not answer now: the same request may do in a moment");
    }
    if has_body {
        add("422", "The body is not what this operation takes");
    }
    add("default", "What is wrong");
}

fn idempotent(operation: &mut Value) {
    let parameter = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "Sent again with the same key, a request is answered as before, for a day, by \
                        the replica that answered it",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "example": "6f1c0f6e-6f4e-4c53-9d3b-0d9f3a1c2b4d",
    });
    if let Some(operation) = operation.as_object_mut() {
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().into_iter().for_each(|all| all.push(parameter.clone()));
    }
}

/// An example of what is sent and of what is answered, wherever that is JSON.
fn examples(operation: &mut Value, schemas: &Value) {
    let add = |content: &mut Value| {
        let Some(json) = content.get_mut("application/json") else { return };
        if json.get("example").is_none() {
            json["example"] = example::of(&json["schema"], schemas);
        }
    };
    if let Some(content) = operation.pointer_mut("/requestBody/content") {
        add(content);
    }
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if let Some(content) = response.get_mut("content") {
            add(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations(document: &Value) -> Vec<(String, Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let of = |(path, item): (&String, &Value)| {
            METHODS.map(|(method, _)| (format!("{method} {path}"), item[method].clone()))
        };
        paths.iter().flat_map(of).filter(|(_, operation)| !operation.is_null()).collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_examples() {
        let document = crate::router::document();
        let mut ids = BTreeSet::new();
        for (name, operation) in operations(&document) {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let plain = id.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(!id.is_empty() && plain, "{name}: {id}");
            assert!(ids.insert(id.to_owned()), "{name}: {id} is another's");
            assert!(operation["summary"].is_string(), "{name} says what it does");
            let bodies = [&operation["requestBody"]];
            let answers = operation["responses"].as_object().expect("answers").values();
            for body in bodies.into_iter().chain(answers) {
                let json = &body["content"]["application/json"];
                assert!(json.is_null() || !json["example"].is_null(), "{name} has no example");
            }
        }
        let text = document.to_string();
        assert!(!text.contains("Page_") && text.contains("RunPage"), "names of pages");
    }

    #[test]
    fn operations_declare_what_they_answer_where_they_refuse() {
        let document = crate::router::document();
        for (name, operation) in operations(&document) {
            let public = operation["security"] == json!([{}]);
            let (api, body) = (name.contains(" /api/"), operation["requestBody"].is_object());
            for (status, declared) in
                [("400", api), ("409", api), ("422", body), ("429", !public), ("503", api)]
            {
                assert!(
                    !declared || operation["responses"][status].is_object(),
                    "{name}: {status}"
                );
            }
        }
    }

    #[test]
    fn tags_are_described() {
        let document = crate::router::document();
        let described: BTreeSet<_> = document["tags"]
            .as_array()
            .expect("tags")
            .iter()
            .map(|tag| &tag["name"])
            .map(Value::to_string)
            .collect();
        for (name, operation) in operations(&document) {
            let tag = operation["tags"][0].to_string();
            assert!(described.contains(&tag), "{name}: {tag}");
        }
    }
}
