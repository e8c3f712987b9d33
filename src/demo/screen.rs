//! Where the table goes: redrawn in place on a terminal, now and then as a block of text elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Term;

/// Standard output.
pub struct Screen {
    terminal: Option<Term>,
    styled: bool,
    lines_drawn: usize,
    last_block: Option<Instant>,
}

impl Screen {
    /// How often a block is written where nothing can be redrawn.
    const BLOCK_INTERVAL: Duration = Duration::from_secs(5);

    /// `no_color` is the value of the environment variable `NO_COLOR`: any but the empty one asks for none.
    pub fn stdout(no_color: Option<&str>) -> Self {
        let term = Term::stdout();
        let terminal = (term.is_term() && !console::is_dumb()).then_some(term);
        let styled = terminal.is_some() && no_color.is_none_or(str::is_empty);
        if terminal.is_some() {
            say(HIDE_CURSOR);
        }
        Self { terminal, styled, lines_drawn: 0, last_block: None }
    }

    /// Whether colours are welcome.
    pub fn styled(&self) -> bool {
        self.styled
    }

    /// Shows a frame in place of the last one.
    pub fn draw(&mut self, frame: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match &self.terminal {
            Some(terminal) => {
                let (height, width) = terminal.size();
                let (text, lines) = redrawn(frame, self.lines_drawn, height.into(), width.into());
                self.lines_drawn = lines;
                out.write_all(text.as_bytes())?;
            }
            None if self.last_block.is_none_or(|last| last.elapsed() >= Self::BLOCK_INTERVAL) => {
                self.last_block = Some(Instant::now());
                writeln!(out, "{frame}")?;
            }
            None => {}
        }
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal.is_some() {
            say(SHOW_CURSOR);
        }
    }
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

fn say(control: &str) {
    // A terminal that is gone shows no cursor either, and drawing will say so.
    let _ = io::stdout().write_all(control.as_bytes()).and_then(|()| io::stdout().flush());
}

/// What to send so that a frame replaces the lines drawn last, and how many lines that makes. A frame that is
/// larger than the terminal is cut: lines that scrolled away or wrapped could not be taken back.
fn redrawn(frame: &str, lines_drawn: usize, height: usize, width: usize) -> (String, usize) {
    let mut text = String::new();
    if lines_drawn > 0 {
        let _ = write!(text, "\x1b[{lines_drawn}A");
    }
    let mut lines = 0;
    for line in frame.lines().take(height.saturating_sub(1)) {
        let _ = writeln!(text, "{}\x1b[K", console::truncate_str(line, width, ""));
        lines += 1;
    }
    text.push_str("\x1b[J");
    (text, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_last_one() {
        let (text, lines) = redrawn("a\nb\n", 0, 24, 80);
        assert_eq!((text.as_str(), lines), ("a\x1b[K\nb\x1b[K\n\x1b[J", 2));
        let (text, lines) = redrawn("c\n", 2, 24, 80);
        assert_eq!((text.as_str(), lines), ("\x1b[2Ac\x1b[K\n\x1b[J", 1));
    }

    #[test]
    fn a_frame_is_cut_to_the_terminal() {
        let (text, lines) = redrawn("\x1b[1mabcdef\x1b[0m\nb\nc\n", 0, 3, 4);
        assert_eq!(lines, 2);
        assert!(text.starts_with("\x1b[1mabcd\x1b[0m"), "{text:?}");
        assert!(!text.contains("\nc"), "{text:?}");
        assert!(!text.contains("abcde"), "{text:?}");
    }
}
