//! Problems as a person reads them: what failed, then one after the other where, what and what to do. Fits one screen.

use connector_sdk::Problem;
use std::fmt::Write;

/// More than this many problems are counted, not shown.
const SHOWN: usize = 20;

/// Problems of `what` (a file, or the command line) as text, with a final line break.
pub fn report(what: &str, problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "one problem".to_owned(),
        count => format!("{count} problems"),
    };
    let mut text = format!("{what}: {count}\n");
    for problem in problems.iter().take(SHOWN) {
        let place = if problem.path.is_empty() { String::new() } else { format!("`{}`: ", problem.path) };
        push(&mut text, format_args!("  {place}{}\n", problem.cause));
        if let Some(hint) = &problem.hint {
            push(&mut text, format_args!("      {hint}\n"));
        }
    }
    if problems.len() > SHOWN {
        push(&mut text, format_args!("  and {} more\n", problems.len() - SHOWN));
    }
    text
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}
