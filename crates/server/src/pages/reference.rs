//! The API's document as a page: every operation with its parameters and an example, for
//! whoever has no token yet.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::{assets, bare};
use crate::app::Shared;

/// What is typed before the path of an example.
const COMMAND: &str = "curl -H 'Authorization: Bearer TOKEN'";

/// The page's content: the same for all, made once.
#[derive(Debug)]
pub(crate) struct Reference {
    groups: Vec<Group>,
}

/// The operations of a tag.
#[derive(Debug)]
struct Group {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    command: String,
    answers: Vec<Answer>,
    /// Of what is answered when it was done.
    example: Option<String>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    place: String,
    required: bool,
    description: String,
}

#[derive(Debug)]
struct Answer {
    status: String,
    description: String,
}

#[derive(Template)]
#[template(path = "reference.html")]
struct ReferencePage<'a> {
    environment: Option<&'a str>,
    css: String,
    js: String,
    groups: &'a [Group],
}

impl Reference {
    pub(crate) fn new(document: &Value) -> Self {
        let tags = document["tags"].as_array().into_iter().flatten();
        let group = |tag: &Value| Group {
            name: text(&tag["name"]),
            description: text(&tag["description"]),
            operations: operations(document, &tag["name"]),
        };
        Self { groups: tags.map(group).filter(|group| !group.operations.is_empty()).collect() }
    }

    pub(crate) fn shown(&self, app: &Shared) -> Response {
        let environment = app.options.environment.as_deref();
        let (css, js) = (assets::address("reelshift.css"), assets::address("reelshift.js"));
        let page = ReferencePage { environment, css, js, groups: &self.groups };
        bare::show(axum::http::StatusCode::OK, &page)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn operations(document: &Value, tag: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().into_iter().flatten();
        let of_tag = methods.filter(|(_, operation)| operation["tags"][0] == *tag);
        of_tag.map(|(method, is)| operation(method, path, is)).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

fn operation(method: &str, path: &str, operation: &Value) -> Operation {
    let method = method.to_uppercase();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameter = |of: &Value| Parameter {
        name: text(&of["name"]),
        place: text(&of["in"]),
        required: of["required"] == true,
        description: text(&of["description"]),
    };
    let answers = || operation["responses"].as_object().into_iter().flatten();
    let done = answers().find(|(status, _)| status.starts_with('2'));
    let json = |of: &Value| of["content"]["application/json"].get("example").cloned();
    let answer = |(status, of): (&String, &Value)| Answer {
        status: status.clone(),
        description: text(&of["description"]),
    };
    Operation {
        id: text(&operation["operationId"]),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        parameters: parameters.map(parameter).collect(),
        command: command(&method, path, json(&operation["requestBody"])),
        example: done.and_then(|(_, of)| json(of)).map(|example| format!("{example:#}")),
        answers: answers().map(answer).collect(),
        method,
        path: path.to_owned(),
    }
}

/// The request as one types it.
fn command(method: &str, path: &str, body: Option<Value>) -> String {
    let method = if method == "GET" { String::new() } else { format!(" -X {method}") };
    let body = body.map_or_else(String::new, |body| {
        // A quotation mark of the shell ends here, is escaped, and begins again.
        let body = body.to_string().replace('\'', r"'\''");
        format!(" \\\n  -H 'Content-Type: application/json' -d '{body}'")
    });
    format!("{COMMAND}{method} \"$SERVER{path}\"{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_on_the_page() {
        let document = crate::router::document();
        let reference = Reference::new(&document);
        let shown: usize = reference.groups.iter().map(|group| group.operations.len()).sum();
        let items = document["paths"].as_object().expect("paths").values();
        let all: usize = items.map(|item| item.as_object().expect("an item").len()).sum();
        assert_eq!(shown, all);
        let page = ReferencePage {
            environment: None,
            css: String::new(),
            js: String::new(),
            groups: &reference.groups,
        };
        let html = page.render().expect("it is made");
        assert!(!html.contains("style="), "the policy forbids styles in attributes");
        assert!(html.contains("id=\"enqueue_run\"") && html.contains("/api/v1/status"));
    }

    #[test]
    fn a_command_can_be_typed() {
        let body = serde_json::json!({ "reason": "the night's backup" });
        let typed = command("POST", "/api/v1/controls/pause", Some(body));
        assert!(typed.contains(" -X POST \"$SERVER/api/v1/controls/pause\""), "{typed}");
        assert!(typed.ends_with(r#"-d '{"reason":"the night'\''s backup"}'"#), "{typed}");
    }
}
