//! `config show`: each setting, its value, and where it came from.

use std::env;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _};
use reelshift_telemetry::redact::redact;
use serde::Serialize;

use crate::args::Cli;
use crate::config::KEYS;
use crate::context::Context;
use crate::exit::Outcome;
use crate::style;

/// A setting as it is resolved.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    /// `None` where nothing is set and there is no default.
    value: Option<String>,
    source: Source,
    environment: String,
    /// Its name in the TOML file; `None` where the file does not have it.
    key: Option<String>,
    /// The command that goes by it; `None` where all do.
    command: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Option,
    Environment,
    File,
    Default,
}

/// Names in the file that are not those of the options.
const OTHER_KEYS: [(&str, &str); 5] = [
    ("replica", "replicas"),
    ("host", "serve.hosts"),
    ("trusted-proxy", "serve.trusted_proxies"),
    ("allow-origin", "serve.allowed_origins"),
    ("tokens", "serve.tokens"),
];

pub fn show(context: &Context) -> Result<Outcome> {
    let command = Cli::command();
    let matches = command.clone().get_matches_from(env::args_os());
    let file: toml::Table = toml::from_str(&context.written_settings)?;
    let mut settings: Vec<Setting> = command
        .get_arguments()
        .filter_map(|arg| setting(arg, None, Some(&matches), &file))
        .collect();
    for command in command.get_subcommands() {
        let own = command.get_arguments().filter(|arg| !arg.is_global_set());
        for setting in own.filter_map(|arg| setting(arg, Some(command), None, &file)) {
            if !settings.iter().any(|known| known.environment == setting.environment) {
                settings.push(setting);
            }
        }
    }
    if context.json {
        context.print_json(&settings)?;
        return Ok(Outcome::Done);
    }
    let mut table = style::table(&["setting", "value", "from"]);
    for setting in &settings {
        let from = match setting.source {
            Source::Option => format!("--{}", setting.name),
            Source::Environment => setting.environment.clone(),
            Source::File => format!("{} in the file", setting.key.as_deref().unwrap_or_default()),
            Source::Default => "default".to_owned(),
        };
        table.add_row([&setting.name, setting.value.as_deref().unwrap_or("-"), &from]);
    }
    crate::output::block(&table);
    Ok(Outcome::Done)
}

/// An argument that the environment can set is a setting.
fn setting(
    arg: &Arg,
    command: Option<&Command>,
    matches: Option<&ArgMatches>,
    file: &toml::Table,
) -> Option<Setting> {
    let environment = arg.get_env()?.to_str()?.to_owned();
    let name = arg.get_long()?.to_owned();
    let key = key(&name);
    let of_file = key.as_deref().and_then(|key| find(file, key));
    let of_environment = env::var(&environment).ok().filter(|value| !value.is_empty());
    let by_option = matches.is_some_and(|matches| {
        matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    let (value, source) = if by_option {
        let raw = matches.and_then(|matches| matches.get_raw(arg.get_id().as_str()));
        let given = raw.into_iter().flatten().map(|value| value.to_string_lossy().into_owned());
        (Some(given.collect::<Vec<_>>().join(",")), Source::Option)
    } else if let Some(value) = of_environment {
        (Some(value), Source::Environment)
    } else if let Some(value) = of_file {
        (Some(value), Source::File)
    } else {
        let default = arg.get_default_values().first();
        (default.map(|value| value.to_string_lossy().into_owned()), Source::Default)
    };
    Some(Setting {
        value: value.map(|value| shown(arg, &value)),
        source,
        environment,
        key,
        command: command.map(|command| command.get_name().to_owned()),
        name,
    })
}

/// Secrets are not shown: of a URL all but its password, of a command its program only.
fn shown(arg: &Arg, value: &str) -> String {
    match arg.is_hide_env_values_set() {
        _ if value.contains("://") => redact(value),
        true => "(set, not shown)".to_owned(),
        false if arg.get_id() == "password_command" => match value.split_once(' ') {
            Some((program, _)) => format!("{program} (arguments not shown)"),
            None => value.to_owned(),
        },
        false => value.to_owned(),
    }
}

/// The name in the file, if the file knows it at all.
fn key(name: &str) -> Option<String> {
    let other = OTHER_KEYS.iter().find(|(option, _)| *option == name);
    let key = other.map_or_else(|| name.replace('-', "_"), |(_, key)| (*key).to_owned());
    let keys = [format!("serve.{key}"), key];
    keys.into_iter().find(|key| KEYS.contains(&key.as_str()))
}

/// The text of a value in the file; `serve.listen` is `listen` of the table `serve`.
fn find(file: &toml::Table, key: &str) -> Option<String> {
    let mut parts = key.split('.');
    let first = file.get(parts.next()?)?;
    let value = parts.try_fold(first, |value, part| value.get(part))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
