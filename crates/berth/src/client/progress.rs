//! The line on a terminal that shows how far a wait is.
//!
//! - On standard error, and only where that is a terminal that can move its cursor: a log gets nothing of it.
//! - It is one line, cut where the terminal ends.
//! - It is gone when the wait ends, so that what is printed then stands alone.

use super::output;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

/// How often the spinner turns: often enough to look alive.
const TICK: Duration = Duration::from_millis(120);
/// What a bar is long: per cent.
const WHOLE: u64 = 100;

/// Whether somebody watches: standard error is a terminal, and not a dumb one.
#[must_use]
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The line; nothing at all where nobody watches.
#[derive(Debug)]
pub(crate) struct Meter(Option<ProgressBar>);

impl Meter {
    /// Begins to show, if `is_watched`.
    #[must_use]
    pub(crate) fn new(is_watched: bool) -> Self {
        Self(is_watched.then(|| {
            // Without a style of its own it would flash a bar before anything is known.
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is written above");
            let bar = ProgressBar::new(WHOLE).with_style(style);
            bar.enable_steady_tick(TICK);
            bar
        }))
    }

    /// Whether it shows anything.
    #[must_use]
    pub(crate) const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Shows where `what` stands: its status and what runs, with a bar where the progress is known.
    pub(crate) fn update(&self, what: &str, body: &Value) {
        let Some(bar) = &self.0 else { return };
        let progress = body["operation"]["progress"].as_f64();
        let template =
            if progress.is_some() { "{spinner} {wide_msg} [{bar:24}] {elapsed}" } else { "{spinner} {wide_msg} {elapsed}" };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is written above"));
        if let Some(percent) = progress {
            // A float cast saturates, so that whatever a server says is a position.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what is wanted")]
            bar.set_position((percent as u64).min(WHOLE));
        }
        let status = output::clean(body["status"].as_str().unwrap_or("?"));
        let operation = output::operation(body);
        let separator = if operation.is_empty() { "" } else { ": " };
        bar.set_message(format!("{what} is {status}{separator}{operation}"));
    }
}

impl Meter {
    /// Shows `message`, and how many of how many are there.
    pub(crate) fn say(&self, message: &str, count: usize, of: usize) {
        let Some(bar) = &self.0 else { return };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg} [{bar:24}] {elapsed}").expect("the template is written above"),
        );
        bar.set_position(count as u64 * WHOLE / of.max(1) as u64);
        bar.set_message(message.to_owned());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
