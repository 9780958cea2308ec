//! `berth top`: what is wrong, what runs and what happens, on the whole terminal.
//!
//! - It shows what the stream of events tells, and asks for nothing else: an idle view costs the server a bookmark now and then.
//! - Errors come first, then what runs, then the rest; what has happened last stands below.
//! - Colours say nothing that words do not say, and `NO_COLOR` switches them off.
//! - What is shown is bounded: [`SHOWN_MAX`] resources are sorted, [`TOLD_MAX`] changes are kept. What is wrong or runs takes the place of what
//!   does not; what is left out is counted.
//! - However it ends, also by SIGTERM or a closed terminal, the terminal is as it was.

use super::Query;
use super::watch::line;
use crate::cli::{Format, TopArgs, word};
use crate::client::Session;
use crate::client::exit::{Failure, Outcome};
use crate::client::kind::Kind;
use crate::client::output::{bar, clean, operation, reason_message};
use crate::client::stream::{Said, Stream};
use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How many resources are shown at most: more than anybody scrolls through.
const SHOWN_MAX: usize = 10_000;
/// How many changes are kept for the lower part.
const TOLD_MAX: usize = 100;
/// How long a key may wait.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a screen stands at least before it is drawn anew: a storm of events must not become one of screens.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows it until it was seen enough.
///
/// # Errors
/// Standard output is no terminal; what asking ends in.
pub(super) fn run(session: &mut Session<'_>, args: &TopArgs) -> Outcome<()> {
    if session.shape.format != Format::Table || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("berth top is for a terminal; for anything else there is berth watch"));
    }
    let mut query: Query = args.kind.iter().map(|kind| ("kind", word(*kind))).collect();
    session.narrow(&mut query, "host", Kind::Host, args.host.as_ref())?;
    let api = session.api.clone();
    let mut stream = Stream::new(&api, query);
    // The first connection is made before the screen is taken: that nobody answers is told as ever.
    let first = stream.next(PATIENCE)?;
    let mut view = View { has_colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()), ..View::default() };
    view.hear(first);
    let is_ended = ended().map_err(Failure::from)?;
    let mut terminal = ratatui::try_init().map_err(Failure::from)?;
    // A terminal without a second screen still shows what was there. It is not asked where its cursor is, as not every one answers.
    let cleared = execute!(std::io::stdout(), Clear(ClearType::All)).map_err(Failure::from);
    let done = cleared.and_then(|()| watch(&mut view, &mut stream, &mut terminal, &is_ended));
    ratatui::restore();
    done
}

/// Becomes true once somebody has told the process to end: the terminal must be given back before.
fn ended() -> std::io::Result<Arc<AtomicBool>> {
    let is_ended = Arc::new(AtomicBool::new(false));
    let told = is_ended.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminated, mut hung_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = terminated.recv() => {}, _ = hung_up.recv() => {} }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(is_ended)
}

fn watch(view: &mut View, stream: &mut Stream<'_>, terminal: &mut ratatui::DefaultTerminal, is_ended: &AtomicBool) -> Outcome<()> {
    let mut drawn: Option<Instant> = None;
    while !is_ended.load(Ordering::Relaxed) {
        if drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            terminal.draw(|frame| view.draw(frame)).map_err(Failure::from)?;
            drawn = Some(Instant::now());
        }
        while poll(Duration::ZERO).map_err(Failure::from)? {
            if let Event::Key(key) = read().map_err(Failure::from)?
                && key.kind == KeyEventKind::Press
                && view.press(key.code, key.modifiers)
            {
                return Ok(());
            }
        }
        let said = stream.next(PATIENCE)?;
        view.hear(said);
    }
    Ok(())
}

/// One resource, as far as it is shown.
struct Shown {
    kind: String,
    object: Value,
}

/// What is known, and where it is looked at.
#[derive(Default)]
struct View {
    shown: HashMap<String, Shown>,
    told: VecDeque<String>,
    /// Why the stream is lost, while it is.
    lost: Option<String>,
    at: usize,
    /// How many rows were shown last.
    height: usize,
    /// What there is besides.
    left_out: HashSet<String>,
    has_colours: bool,
}

impl View {
    fn hear(&mut self, said: Said) {
        match said {
            Said::Event(event) => self.event(&event),
            Said::Lost(why) => self.lost = Some(clean(&why)),
            Said::Back => self.lost = None,
            Said::Nothing => {}
        }
    }

    fn event(&mut self, event: &Value) {
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("resync") => {
                self.shown.clear();
                self.left_out.clear();
            }
            Some("progress") => {
                if let Some(shown) = self.shown.get_mut(&id).filter(|shown| shown.object.is_object()) {
                    shown.object["operation"] = event["operation"].clone();
                }
            }
            Some(name @ ("snapshot" | "change")) => {
                let kind = clean(event["kind"].as_str().unwrap_or_default());
                if name == "change" && event["transition"].is_object() {
                    let object = if event["object"].is_null() {
                        self.shown.get(&id).map(|shown| &shown.object)
                    } else {
                        Some(&event["object"])
                    };
                    let named = format!("{kind} {}", self.name_of(object.unwrap_or(&Value::Null), &id));
                    self.told.push_front(line(event, &named));
                    self.told.truncate(TOLD_MAX);
                }
                // A tombstone is read for an hour yet, and says nothing any more.
                let is_gone = matches!(event["object"]["status"].as_str(), Some("deleted" | "detached"));
                if event["deleted"] == true || is_gone {
                    self.shown.remove(&id);
                    self.left_out.remove(&id);
                } else if event["object"].is_object() {
                    self.show(id, Shown { kind, object: event["object"].clone() });
                }
            }
            _ => {}
        }
    }

    /// Shows one. Where there are too many, what is wrong or runs takes the place of one that does not.
    fn show(&mut self, id: String, one: Shown) {
        if self.shown.len() >= SHOWN_MAX && !self.shown.contains_key(&id) {
            let is_quiet = |shown: &Shown| rank(&shown.object) == QUIET;
            let out =
                if is_quiet(&one) { None } else { self.shown.iter().find(|(_, shown)| is_quiet(shown)).map(|(id, _)| id.clone()) };
            let Some(out) = out else {
                self.left_out.insert(id);
                return;
            };
            self.shown.remove(&out);
            self.left_out.insert(out);
        }
        self.left_out.remove(&id);
        self.shown.insert(id, one);
    }

    /// The name; of an attachment, which has none, what it is between.
    fn name_of(&self, object: &Value, id: &str) -> String {
        let of = |field: &str| {
            let id = object[field].as_str()?;
            self.shown.get(id).map(|shown| name_of(&shown.object, id))
        };
        match (object["hostId"].is_string(), of("volumeId"), of("hostId")) {
            (true, Some(volume), Some(host)) => format!("{volume} at {host}"),
            _ => name_of(object, id),
        }
    }

    /// Takes a key. Returns whether it was seen enough.
    fn press(&mut self, code: KeyCode, with: KeyModifiers) -> bool {
        match code {
            KeyCode::Char('c') if with.contains(KeyModifiers::CONTROL) => return true,
            // What is pressed together with control or alt is another key.
            KeyCode::Char(_) if with.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {}
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Down | KeyCode::Char('j') => self.at += 1,
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.at += self.height.max(1),
            KeyCode::PageUp => self.at = self.at.saturating_sub(self.height.max(1)),
            KeyCode::Home | KeyCode::Char('g') => self.at = 0,
            KeyCode::End | KeyCode::Char('G') => self.at = usize::MAX,
            _ => {}
        }
        self.keep_to(self.height);
        false
    }

    /// Keeps to what there is: the last row stands at the end of a page of `height` rows.
    fn keep_to(&mut self, height: usize) {
        self.height = height;
        self.at = self.at.min(self.shown.len().saturating_sub(height.max(1)));
    }

    /// Errors first, then what runs, then the rest; each by kind and name.
    fn sorted(&self) -> Vec<(&String, &Shown)> {
        let mut all: Vec<_> = self.shown.iter().collect();
        all.sort_by_cached_key(|(id, shown)| {
            (rank(&shown.object), shown.kind.clone(), self.name_of(&shown.object, id), (*id).clone())
        });
        all
    }

    /// How many are in each status, what is wrong first.
    fn summary(&self) -> String {
        let mut counts: BTreeMap<(bool, String), usize> = BTreeMap::new();
        let statuses = self.shown.values().filter_map(|shown| shown.object["status"].as_str().map(|status| (shown, status)));
        for (shown, status) in statuses.filter(|(shown, _)| shown.kind != "pool") {
            *counts.entry((!status.starts_with("error"), format!("{} {}", shown.kind, clean(status)))).or_default() += 1;
        }
        let left_out = Some(self.left_out.len()).filter(|count| *count > 0).map(|count| format!("{count} not shown"));
        let counts: Vec<_> = counts.iter().map(|((_, word), count)| format!("{count} {word}")).chain(left_out).collect();
        if counts.is_empty() { "nothing is there".into() } else { counts.join(", ") }
    }

    fn colour(&self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let lower = (frame.area().height / 3).min(12);
        let [head, middle, below] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(lower)]).areas(frame.area());
        // One row is the headings'.
        self.keep_to(usize::from(middle.height.saturating_sub(1)));
        let (from, to, all) = (self.at + 1, (self.at + self.height).min(self.shown.len()), self.shown.len());
        let place = if all > self.height { format!("   {from} to {to} of {all}") } else { String::new() };
        let state = match &self.lost {
            Some(why) => Line::styled(format!("berth  LOST: {why}; connecting again"), self.colour(Color::Red)),
            None => Line::styled(format!("berth  live   q leaves, arrows scroll{place}"), self.colour(Color::Green)),
        };
        frame.render_widget(Paragraph::new(vec![state, Line::raw(self.summary())]), head);
        let rows = self.sorted().into_iter().skip(self.at).take(usize::from(middle.height)).map(|(id, shown)| self.row(id, shown));
        let widths = [
            Constraint::Length(10),
            Constraint::Percentage(22),
            Constraint::Length(16),
            Constraint::Percentage(40),
            Constraint::Min(10),
        ];
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let table = Table::new(rows, widths).header(Row::new(["KIND", "NAME", "STATUS", "OPERATION", "REASON"]).style(bold));
        frame.render_widget(table, middle);
        let told: Vec<_> = self.told.iter().map(|line| Line::raw(line.as_str())).collect();
        frame.render_widget(Paragraph::new(told).block(Block::new().borders(Borders::TOP).title("what happens")), below);
    }

    fn row(&self, id: &str, shown: &Shown) -> Row<'static> {
        let object = &shown.object;
        let progress = object["operation"]["progress"].as_f64().map(|percent| format!(" {}", bar(percent))).unwrap_or_default();
        let status = match shown.kind.as_str() {
            "pool" => format!("backend {}", clean(object["availability"]["state"].as_str().unwrap_or("?"))),
            _ => clean(object["status"].as_str().unwrap_or("-")),
        };
        let style = match rank(object) {
            0 => self.colour(Color::Red),
            1 => self.colour(Color::Yellow),
            _ => Style::new(),
        };
        let cells = [
            shown.kind.clone(),
            self.name_of(object, id),
            status,
            format!("{}{progress}", operation(object)),
            reason_message(object),
        ];
        Row::new(cells).style(style)
    }
}

/// The rank of what is neither wrong nor runs.
const QUIET: u8 = 2;

/// What is wrong comes first, then what runs.
fn rank(object: &Value) -> u8 {
    let is_wrong = object["status"].as_str().is_some_and(|status| status.starts_with("error") || status == "unavailable")
        || object["availability"]["state"] == "down"
        || object["health"]["state"] == "error";
    match (is_wrong, object["operation"].is_object()) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => QUIET,
    }
}

fn name_of(object: &Value, id: &str) -> String {
    let name = [&object["name"], &object["hostName"]].into_iter().find_map(Value::as_str).filter(|name| !name.is_empty());
    clean(name.unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn screen(view: &mut View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<_> = buffer.content().iter().map(|cell| cell.symbol().to_owned()).collect();
        cells.chunks(usize::from(width).max(1)).map(|row| row.concat().trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    fn snapshot(id: &str, object: Value) -> Said {
        Said::Event(json!({"event": "snapshot", "kind": "volume", "id": id, "object": object}))
    }

    #[test]
    fn what_is_wrong_stands_first_and_what_happens_below() {
        let mut view = View::default();
        view.hear(snapshot("a", json!({"name": "fine", "status": "available"})));
        view.hear(snapshot("b", json!({"name": "busy", "status": "extending", "operation": {"kind": "extend"}})));
        view.hear(snapshot(
            "c",
            json!({"name": "bro\u{1b}ken", "status": "error", "statusReason": {"code": "refused", "message": "full"}}),
        ));
        view.hear(Said::Event(json!({"event": "progress", "id": "b", "operation": {"kind": "extend", "progress": 50}})));
        view.hear(Said::Event(
            json!({"event": "change", "kind": "volume", "id": "a", "object": {"name": "fine", "status": "deleting"},
            "transition": {"at": "T", "from": "available", "to": "deleting", "cause": "delete"}}),
        ));
        let shown = screen(&mut view, 120, 20);
        let place = |word: &str| shown.find(word).unwrap_or_else(|| panic!("{word}: {shown}"));
        assert!(place("bro\u{fffd}ken") < place("busy") && place("busy") < place("fine"), "{shown}");
        assert!(
            place("1 volume error") < place("KIND") && place("what happens") < place("T volume fine: available -> deleting"),
            "{shown}"
        );
        assert!(shown.contains("extend 50%") && shown.contains("full (refused)"), "{shown}");
        view.hear(Said::Event(json!({"event": "change", "kind": "volume", "id": "c", "object": null, "deleted": true})));
        view.hear(Said::Lost("it was closed".into()));
        let shown = screen(&mut view, 120, 20);
        assert!(shown.contains("LOST: it was closed") && !shown.contains("ken"), "{shown}");
    }

    #[test]
    fn any_terminal_and_any_event_will_do() {
        let mut view = View { has_colours: true, ..View::default() };
        for event in [
            json!({}),
            json!({"event": "snapshot", "object": 5}),
            json!({"event": "change", "object": {"operation": 5}, "id": "x"}),
        ] {
            view.hear(Said::Event(event));
        }
        for (width, height) in [(1, 1), (2, 3), (20, 5), (300, 100)] {
            screen(&mut view, width, height);
        }
    }

    #[test]
    fn keys_scroll_and_leave() {
        let mut view = View::default();
        for id in 0..30 {
            view.hear(snapshot(&format!("{id:02}"), json!({"status": "available"})));
        }
        let none = KeyModifiers::NONE;
        // Two rows of head, one of headings, four of what happens.
        let shown = screen(&mut view, 80, 17);
        assert!(shown.contains("1 to 9 of 30") && shown.contains("08") && !shown.contains("09"), "{shown}");
        assert!(!view.press(KeyCode::PageDown, none) && !view.press(KeyCode::Up, none));
        assert_eq!(view.at, 8);
        assert!(screen(&mut view, 80, 17).contains("08") && !screen(&mut view, 80, 17).contains("07"));
        for key in [KeyCode::PageDown, KeyCode::PageDown, KeyCode::PageDown, KeyCode::Down, KeyCode::End] {
            view.press(key, none);
        }
        assert!(screen(&mut view, 80, 17).contains("22 to 30 of 30"), "the last page is full");
        for id in 10..30 {
            view.hear(Said::Event(json!({"event": "change", "id": format!("{id:02}"), "object": null, "deleted": true})));
        }
        assert!(screen(&mut view, 80, 17).contains("2 to 10 of 10"), "what goes does not leave an empty page");
        assert!(!view.press(KeyCode::Home, none) && !view.press(KeyCode::Char('j'), KeyModifiers::CONTROL));
        assert_eq!(view.at, 0, "line feed is no j");
        assert!(view.press(KeyCode::Char('q'), none) && view.press(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!view.press(KeyCode::Char('c'), none));
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let mut view = View::default();
        for id in 0..SHOWN_MAX + 5 {
            view.hear(snapshot(&id.to_string(), json!({"status": "available"})));
            let transition = json!({"event": "change", "kind": "volume", "id": "0", "object": {}, "transition": {}});
            view.hear(Said::Event(transition));
        }
        assert_eq!((view.shown.len(), view.told.len()), (SHOWN_MAX, TOLD_MAX));
        assert!(view.summary().ends_with("5 not shown"), "{}", view.summary());
        view.hear(snapshot("bad", json!({"name": "bad", "status": "error"})));
        assert!(screen(&mut view, 80, 24).contains("volume     bad"), "what is wrong is shown however many there are");
        assert_eq!((view.shown.len(), view.left_out.len()), (SHOWN_MAX, 6));
        assert!(view.summary().starts_with("1 volume error"), "{}", view.summary());
    }

    #[test]
    fn an_attachment_is_between_two_and_leaves_when_it_is_detached() {
        let mut view = View::default();
        let of = |event: &str, kind: &str, id: &str, object: Value| {
            Said::Event(json!({"event": event, "kind": kind, "id": id, "object": object}))
        };
        view.hear(of("snapshot", "volume", "v", json!({"name": "data", "status": "inUse"})));
        view.hear(of("snapshot", "host", "h", json!({"hostName": "db"})));
        view.hear(of("snapshot", "attachment", "a", json!({"volumeId": "v", "hostId": "h", "status": "attached"})));
        view.hear(of("snapshot", "attachment", "b", json!({"volumeId": "x", "hostId": "h", "status": "attached"})));
        let shown = screen(&mut view, 80, 20);
        assert!(shown.contains("data at db") && shown.contains("attachment b"), "{shown}");
        view.hear(of("change", "attachment", "a", json!({"volumeId": "v", "hostId": "h", "status": "detached"})));
        assert!(!screen(&mut view, 80, 20).contains("data at db"));
    }
}
