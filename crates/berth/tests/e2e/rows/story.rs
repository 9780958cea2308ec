//! The story of a row: readable lines with the time since its begin, printed in one piece when the row ends, well or not.

use std::fmt::Write;
use std::time::Instant;

/// As many characters of an id as tell it from its neighbours.
const BRIEF_ID: usize = 8;
/// Of an id in full.
const ID: usize = 36;

/// What has happened so far.
pub(super) struct Story {
    begun: Instant,
    text: String,
}

impl Story {
    /// Begins one.
    pub(super) fn begin(title: &str) -> Self {
        Self { begun: Instant::now(), text: format!("\n{title}\n") }
    }

    /// Goes on.
    pub(super) fn tell(&mut self, what: &str) {
        writeln!(self.text, "{:8.3} s  {what}", self.begun.elapsed().as_secs_f64()).expect("a text takes every line");
    }
}

impl Drop for Story {
    #[expect(clippy::print_stdout, reason = "it is told to whoever runs the row with --nocapture")]
    fn drop(&mut self) {
        println!("{}", self.text);
    }
}

/// The text with its ids cut to their beginnings.
pub(super) fn brief(text: &str) -> String {
    let is_id_like = |character: char| character.is_ascii_hexdigit() || character == '-';
    let mut brief = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character| !is_id_like(character)).unwrap_or(rest.len());
        let (taken, kept) = match word {
            0 => (first.len_utf8(), first.len_utf8()),
            ID => (ID, BRIEF_ID),
            _ => (word, word),
        };
        brief.push_str(&rest[..kept]);
        rest = &rest[taken..];
    }
    brief
}
