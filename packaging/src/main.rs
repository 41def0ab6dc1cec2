//! `ready-probe-pages FOLDER`: writes the man pages and completions of `ready-probe` into a folder. They come from
//! the definition that parses its command line, so they can't say anything else than `--help`.

#[allow(dead_code, reason = "nothing is parsed here, so no field is ever read")]
#[path = "../../probe/src/cli.rs"]
mod cli;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use clap_complete::Shell;

const NAME: &str = "ready-probe";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), None) = (args.next(), args.next()) else {
        eprintln!("usage: ready-probe-pages FOLDER");
        return ExitCode::from(64);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("ready-probe-pages: {}: {e}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// One page a command, and one file a shell, under the names by which their readers look for them.
fn write(folder: &Path) -> io::Result<()> {
    let (pages, completions) = (folder.join("man/man1"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(cli::definition(), &pages)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cli::definition(), NAME, &completions)?;
    }
    Ok(())
}
