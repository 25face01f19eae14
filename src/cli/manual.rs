//! `dvrlab completions` and `dvrlab man`: made of the same description of the arguments as `--help`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Arguments, EXIT_BAD_INPUT, EXIT_BUG, EXIT_OK, err, out};

pub(super) fn completions(shell: Shell) -> i32 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "dvrlab", &mut script);
    out(&String::from_utf8_lossy(&script));
    EXIT_OK
}

pub(super) fn man(name: Option<&str>) -> i32 {
    // Built first, so that a command's page has its whole name and the global arguments.
    let mut program = Arguments::command();
    program.build();
    let page = match name.map(|name| program.find_subcommand(name).cloned().ok_or(name)) {
        None => program,
        Some(Ok(page)) => page,
        Some(Err(name)) => {
            err(&format!("error: there is no command `{name}`\n"));
            return EXIT_BAD_INPUT;
        }
    };
    let mut text = Vec::new();
    if let Err(error) = Man::new(page).render(&mut text) {
        err(&format!("error: {error}\n"));
        return EXIT_BUG;
    }
    out(&String::from_utf8_lossy(&text));
    EXIT_OK
}
