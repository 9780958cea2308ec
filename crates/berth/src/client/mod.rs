//! The client commands: what talks to a running controller over REST.
//!
//! Here: the settings of one call, the dispatch, and how a failure becomes an exit code. What can be typed is defined in
//! [`crate::cli`]; each kind of resource has its commands in `commands`.
//!
//! - Data goes to standard output, messages and progress to standard error.
//! - Nothing is decided here that the server decides: whether something is allowed now is asked, not guessed.
//! - An interrupt ends the client alone; what was asked goes on.

mod commands;
mod exit;
#[cfg(test)]
mod fake;
mod http;
mod kind;
mod output;
mod progress;
mod stream;
mod wait;

use crate::cli::{ClientCommand, GlobalArgs};
use exit::{Exit, Failure, Outcome};
use http::{Api, Target};
use output::Shape;
use std::io::{self, BufRead, Write};
use std::time::Duration;

/// One call of a client command: whom it asks and where it writes.
struct Session<'a> {
    api: Api,
    shape: Shape,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    messages: &'a mut dyn Write,
    is_watched: bool,
    pace: Duration,
    /// Whether whoever reads standard output has left.
    is_left: fn() -> bool,
}

/// Runs a client command and returns the exit code; everything that is to be said is said.
///
/// The codes are those of [`exit::Exit`], listed in `docs/cli.md`.
#[must_use]
pub(crate) fn run(global: &GlobalArgs, command: ClientCommand) -> i32 {
    let variable = |name: &str| std::env::var(name).ok();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut messages = io::stderr();
    let mut input = io::stdin().lock();
    let done = target(global, variable).and_then(Api::new).and_then(|api| {
        let is_watched = progress::is_watched();
        let mut session = Session {
            api,
            shape: global.output.into(),
            input: &mut input,
            out: &mut out,
            messages: &mut messages,
            is_watched,
            pace: wait::PACE,
            is_left,
        };
        let done = commands::run(&mut session, global, command);
        // What was found is shown also where something else failed, and before the message about that.
        let flushed = session.out.flush().map_err(Failure::from);
        done.and(flushed)
    });
    end(done, &mut messages)
}

/// Writes `bytes` to standard output and returns the exit code: for what is made here, like a completion script.
#[must_use]
pub(crate) fn print(bytes: &[u8]) -> i32 {
    let mut out = io::stdout().lock();
    end(out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::from), &mut io::stderr())
}

/// Whether nobody reads standard output any more. What waits for something to print would not notice otherwise before it prints.
fn is_left() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let out = io::stdout();
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents().contains(PollFlags::ERR)
}

fn end(done: Outcome<()>, messages: &mut dyn Write) -> i32 {
    match done {
        Ok(()) => Exit::Ok.code(),
        Err(failure) => {
            tell(messages, &failure);
            failure.exit.code()
        }
    }
}

/// Says on standard error why something failed. Lines are kept, anything else that a terminal would obey is not.
fn tell(messages: &mut dyn Write, failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    let lines: Vec<_> = failure.message.lines().map(output::clean).collect();
    // Nobody is left to tell that standard error cannot be written.
    drop(writeln!(messages, "berth: {}", lines.join("\n")));
}

/// Where to send requests: flags win over our variables, ours over those of OpenSDS. An empty variable is none.
fn target(global: &GlobalArgs, variable: impl Fn(&str) -> Option<String>) -> Outcome<Target> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let choose = |flag: &Option<String>, names: [&str; 2], default: &str| {
        let found = flag.clone().or_else(|| names.into_iter().find_map(variable));
        found.unwrap_or_else(|| default.to_owned())
    };
    if let Some(strategy) = variable("OPENSDS_AUTH_STRATEGY").filter(|strategy| strategy != "noauth") {
        let message =
            format!("OPENSDS_AUTH_STRATEGY={strategy} is not spoken; get a token and give it in BERTH_TOKEN, or unset it");
        if variable("BERTH_TOKEN").is_none() {
            return Err(Failure::usage(message));
        }
    }
    Ok(Target {
        endpoint: choose(&global.endpoint, ["BERTH_ENDPOINT", "OPENSDS_ENDPOINT"], http::DEFAULT_ENDPOINT),
        tenant: choose(&global.tenant, ["BERTH_TENANT", "OPENSDS_TENANT_ID"], http::DEFAULT_TENANT),
        token: variable("BERTH_TOKEN"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: (Option<&str>, Option<&str>), variables: &[(&str, &str)]) -> Outcome<(String, String)> {
        let global = GlobalArgs { endpoint: flags.0.map(Into::into), tenant: flags.1.map(Into::into), ..GlobalArgs::default() };
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        target(&global, variable).map(|target| (target.endpoint, target.tenant))
    }

    #[test]
    fn flags_win_over_ours_over_theirs() {
        let theirs = [("OPENSDS_ENDPOINT", "http://o"), ("OPENSDS_TENANT_ID", "o")];
        let both = [("BERTH_ENDPOINT", "http://b"), ("BERTH_TENANT", "b"), theirs[0], theirs[1]];
        let pair = |endpoint: &str, tenant: &str| Ok((endpoint.to_owned(), tenant.to_owned()));
        assert_eq!(check((Some("http://f"), Some("f")), &both), pair("http://f", "f"));
        assert_eq!(check((None, None), &both), pair("http://b", "b"));
        assert_eq!(check((None, None), &theirs), pair("http://o", "o"));
        assert_eq!(check((None, None), &[("BERTH_ENDPOINT", "")]), pair(http::DEFAULT_ENDPOINT, http::DEFAULT_TENANT));
    }

    #[test]
    fn a_strategy_that_is_not_spoken_is_said_at_once() {
        assert!(check((None, None), &[("OPENSDS_AUTH_STRATEGY", "noauth")]).is_ok());
        assert_eq!(check((None, None), &[("OPENSDS_AUTH_STRATEGY", "keystone")]).unwrap_err().exit, Exit::Usage);
        assert!(check((None, None), &[("OPENSDS_AUTH_STRATEGY", "keystone"), ("BERTH_TOKEN", "t")]).is_ok());
    }

    #[test]
    fn a_failure_is_told_without_what_a_terminal_obeys() {
        let mut messages = Vec::new();
        let code = end(Err(Failure::new(Exit::NotAllowed, "cannot\u{1b}[2J\n  line")), &mut messages);
        assert_eq!((code, String::from_utf8(messages).unwrap().as_str()), (5, "berth: cannot\u{fffd}[2J\n  line\n"));
        let mut messages = Vec::new();
        assert_eq!((end(Err(Failure::new(Exit::Ok, "")), &mut messages), messages.len()), (0, 0));
    }
}
