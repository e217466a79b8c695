//! `completion` and `man`: what shells and `man` read, made from the command line itself.

use std::path::Path;

use anyhow::Result;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Outcome, Usage};
use crate::style::plural;

pub fn completion(shell: Shell) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "reelshift", &mut script);
    crate::output::raw(&script);
    Ok(Outcome::Done)
}

/// The command line without what is hidden, which the generators of some shells offer too.
fn shown() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("reelshift").args(all.get_arguments().cloned()).subcommands(commands)
}

/// One page a command, `reelshift-COMMAND.1`.
pub fn man(directory: &Path) -> Result<Outcome> {
    let cannot = |error: std::io::Error| {
        Usage(format!("cannot write the pages to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(cannot)?;
    let pages = std::fs::read_dir(directory).map_err(cannot)?.count();
    crate::output::say!("{} in {}", plural(pages as u64, "page", "pages"), directory.display());
    Ok(Outcome::Done)
}
