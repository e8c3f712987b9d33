//! What is made from the definitions of the command line: manual pages and completions.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueHint};
use clap_complete::Shell;

use super::Cli;

/// `churnwatch man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for every command into this directory, instead of printing the first
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

impl ManArgs {
    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch man | man -l -
  churnwatch man --directory /usr/local/share/man/man1";

    /// Prints the page, or writes them all.
    pub fn write(&self, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        let mut command = <Cli as clap::CommandFactory>::command().disable_help_subcommand(true);
        command.build();
        let Some(directory) = &self.directory else { return Ok(man(command).render(out)?) };
        let written = std::fs::create_dir_all(directory).and_then(|()| write_pages(command, directory));
        written.with_context(|| format!("cannot write manual pages into {}", directory.display()))
    }
}

fn write_pages(command: clap::Command, directory: &Path) -> std::io::Result<()> {
    command.get_subcommands().cloned().try_for_each(|command| write_pages(command, directory))?;
    man(command).generate_to(directory).map(drop)
}

fn man(command: clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).source(concat!("churnwatch ", env!("CARGO_PKG_VERSION")))
}

/// `churnwatch completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that is to read it
    pub shell: Shell,
}

impl CompletionsArgs {
    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch completions bash > /etc/bash_completion.d/churnwatch
  churnwatch completions zsh > ~/.zfunc/_churnwatch
  churnwatch completions fish > ~/.config/fish/completions/churnwatch.fish";

    /// The script for the shell.
    pub fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        let command = &mut <Cli as clap::CommandFactory>::command();
        clap_complete::generate(self.shell, command, "churnwatch", &mut script);
        script
    }
}
