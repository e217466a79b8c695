//! `token`: a new token for `serve`, and what its configuration holds of it.

use anyhow::Result;
use chrono::{DateTime, Utc};
use owo_colors::OwoColorize;
use reelshift_server::token::{self, ConfiguredToken, Role};
use serde_json::json;

use crate::args::serve::{TokenArgs, TokenRole};
use crate::context::{Context, by};
use crate::exit::{self, Outcome, Usage};

pub async fn run(context: &Context, args: &TokenArgs) -> Result<Outcome> {
    let secret = token::generate();
    let hash = hex(&token::hash(&secret));
    let role = match args.role {
        TokenRole::Viewer => Role::Viewer,
        TokenRole::Operator => Role::Operator,
    };
    let expires = args.expires.as_deref();
    let configured = ConfiguredToken::of(&args.name, role.into_str(), &hash, expires)
        .map_err(|error| Usage(error.to_string()))?;
    if let Some(expires) = expires
        && configured.expires.is_some_and(is_past)
    {
        return Err(
            Usage(format!("--expires {expires} is past: the token would open nothing")).into()
        );
    }
    let mut line = format!("{}:{}:{hash}", args.name, role.into_str());
    if let Some(expires) = expires {
        line.push_str(&format!(":{expires}"));
    }
    let recorded = record(context, args, role).await;
    if let Err(error) = &recorded {
        crate::output::note!(
            "{} this token is not in the audit: {}",
            "note:".yellow().bold(),
            exit::sentence(error)
        );
    }
    if context.json {
        context.print_json(&json!({
            "token": secret, "name": args.name, "role": role, "hash": hash, "expires": expires,
            "configuration": line, "recorded": recorded.unwrap_or(false),
        }))?;
        return Ok(Outcome::Done);
    }
    crate::output::say!("{} {secret}", "token:".green().bold());
    crate::output::say!("It is shown once, and stored nowhere. Give it to {}.\n", args.name);
    crate::output::say!(
        "The server gets its hash, in REELSHIFT_TOKENS (several separated by commas):"
    );
    crate::output::say!("  {line}");
    crate::output::say!("or in the TOML file:");
    crate::output::say!("  [[serve.tokens]]");
    crate::output::say!("  name = \"{}\"", args.name);
    crate::output::say!("  role = \"{}\"", role.into_str());
    crate::output::say!("  hash = \"{hash}\"");
    if let Some(expires) = expires {
        crate::output::say!("  expires = \"{expires}\"");
    }
    Ok(Outcome::Done)
}

#[expect(clippy::disallowed_methods, reason = "a token is made without a database")]
fn is_past(at: DateTime<Utc>) -> bool {
    at <= Utc::now()
}

/// Records the token where a database is given; returns whether one is. Nobody needs a database
/// to make a token, which opens nothing before a server's configuration has its hash.
async fn record(context: &Context, args: &TokenArgs, role: Role) -> Result<bool> {
    if context.given_url().is_none() {
        return Ok(false);
    }
    let store = context.store_with(1).await?;
    let role = match &args.expires {
        Some(expires) => format!("{}, until {expires}", role.into_str()),
        None => role.into_str().to_owned(),
    };
    reelshift_operate::token_made(&*store, &by(None), args.name.clone(), role).await?;
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
