//! Answer recorded cases: JSON lines on stdin, answers on stdout.
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        match gw_policy::replay::line(&line?) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(what) => eprintln!("{what}"),
        }
    }
    Ok(())
}
