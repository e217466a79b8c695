//! The generated files in `docs/reference`: every `--help`, the settings, and the OpenAPI
//! document. A test refuses them when they are out of date; `cargo xtask generate` makes them.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};
use schemars::schema_for;

use crate::args::Cli;
use crate::config::File;

/// Set by `cargo xtask generate`: write the files instead of comparing them.
const GENERATE_VARIABLE: &str = "REELSHIFT_GENERATE";

/// The width of the terminal in help texts.
const HELP_COLUMNS: usize = 100;

/// Compares a file with what the code makes, or writes it.
fn check(name: &str, made: &str) {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference"));
    let path = directory.join(name);
    if std::env::var_os(GENERATE_VARIABLE).is_some() {
        std::fs::create_dir_all(directory).expect("the directory");
        std::fs::write(&path, made).expect("it is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/reference/{name} is out of date: run `cargo xtask generate` and commit it"
    );
}

/// The command line without what differs from one environment to the next.
fn command() -> Command {
    fn fixed(command: Command) -> Command {
        command
            .term_width(HELP_COLUMNS)
            .mut_args(|arg| arg.hide_env_values(true))
            .mut_subcommands(fixed)
    }
    let mut command = fixed(Cli::command());
    command.build();
    command
}

/// The commands that people see, each with its whole name.
fn commands<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
    found.push((path.to_owned(), command));
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for sub in shown.filter(|sub| sub.get_name() != "help") {
        commands(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

/// The first paragraph of what an option is, on one line.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn default(arg: &Arg) -> String {
    let values: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { String::new() } else { format!("`{}`", values.join(" ")) }
}

#[test]
fn help_is_committed() {
    let whole = command();
    let mut found = Vec::new();
    commands(&whole, "reelshift", &mut found);
    let mut text = String::new();
    for (path, command) in found {
        let help = command.clone().render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        writeln!(text, "$ {path} --help\n{}\n", help.join("\n").trim_end()).expect("a string");
    }
    check("help.txt", &text);
}

#[test]
fn settings_are_committed() {
    let whole = command();
    let mut found = Vec::new();
    commands(&whole, "reelshift", &mut found);
    let mut text = String::from(
        "# Settings\n\nMade by `cargo xtask generate` from the command line and the settings file. An option \
         comes before an environment variable, which comes before the file, which comes before the default. \
         The variables `OTEL_*` are OpenTelemetry's ([telemetry](../telemetry.md)).\n\n\
         ## Environment variables\n\n| Variable | Option | Commands | Default | Meaning |\n|---|---|---|---|---|\n",
    );
    let mut rows =
        std::collections::BTreeMap::<String, (String, Vec<String>, String, String)>::new();
    for (path, command) in &found {
        for arg in command.get_arguments() {
            let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) else { continue };
            let variable = variable.to_string_lossy().into_owned();
            let row = rows
                .entry(variable)
                .or_insert_with(|| (format!("--{long}"), Vec::new(), default(arg), meaning(arg)));
            let name = path.trim_start_matches("reelshift").trim();
            row.1.push(if name.is_empty() { "all".to_owned() } else { format!("`{name}`") });
        }
    }
    for (variable, (option, commands, default, meaning)) in rows {
        let commands = if commands.iter().any(|name| name == "all") {
            "all".to_owned()
        } else {
            commands.join(", ")
        };
        writeln!(text, "| `{variable}` | `{option}` | {commands} | {default} | {meaning} |")
            .expect("a string");
    }
    text.push_str(
        "\n## The settings file\n\n`--config FILE`, or `./reelshift.toml` if it is there. Unknown keys are \
         refused. [reelshift.schema.json](reelshift.schema.json) is its JSON Schema, for editors.\n\n\
         | Key | Type | Meaning |\n|---|---|---|\n",
    );
    let schema = schema_for!(File).to_value();
    keys(&schema, &schema, "", &mut text);
    check("settings.md", &text);
    let schema = serde_json::to_string_pretty(&schema).expect("JSON");
    check("reelshift.schema.json", &format!("{schema}\n"));
}

/// A row for each key of the object that `schema` describes, and of those in it.
fn keys(root: &serde_json::Value, schema: &serde_json::Value, prefix: &str, text: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, property) in properties {
        let inner = resolve(root, property);
        let items = resolve(root, &inner["items"]);
        let (key, object) = if items["properties"].is_object() {
            (format!("{prefix}{name}[]"), items)
        } else {
            (format!("{prefix}{name}"), inner)
        };
        let meaning = property["description"].as_str().or(inner["description"].as_str());
        let meaning = meaning.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        writeln!(text, "| `{key}` | {} | {meaning} |", kind(inner)).expect("a string");
        keys(root, object, &format!("{key}."), text);
    }
}

/// The definition behind a reference.
fn resolve<'a>(
    root: &'a serde_json::Value,
    schema: &'a serde_json::Value,
) -> &'a serde_json::Value {
    match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

/// The JSON types of a value, without NULL: a key may be left out.
fn kind(schema: &serde_json::Value) -> String {
    let kinds: Vec<&str> = match &schema["type"] {
        serde_json::Value::String(kind) => vec![kind],
        serde_json::Value::Array(kinds) => {
            kinds.iter().filter_map(serde_json::Value::as_str).collect()
        }
        _ => Vec::new(),
    };
    kinds.into_iter().filter(|kind| *kind != "null").collect::<Vec<_>>().join(" or ")
}

#[test]
fn the_openapi_document_is_committed() {
    let document = serde_json::to_string_pretty(&reelshift_server::document()).expect("JSON");
    check("openapi.json", &format!("{document}\n"));
}
