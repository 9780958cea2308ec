//! The commands, a module for each kind of resource; here what the kinds share.
//!
//! - A verb on several resources does what it can: each failure is told, and the first one gives the exit code.
//! - All are asked first and waited for after that, so that they run beside each other.
//! - What is printed is what the server says now, not what was asked for.

mod attachment;
mod doctor;
mod host;
mod pool;
mod profile;
mod snapshot;
#[cfg(test)]
mod tests;
mod volume;

use super::exit::{Exit, Failure, Outcome};
use super::kind::{Kind, id_of};
use super::output;
use super::wait::{Aim, Wait, journal};
use super::{Session, tell};
use crate::cli::{
    Again, ClientCommand, Ids, JournalArgs, NamedListArgs, PageArgs, RenameArgs, WaitArgs, WaitForArgs, WaitKind, word,
};
use serde_json::{Map, Value, json};

/// How many rows a list asks for where nobody says: as many as the server gives at once. Source: architecture page, "Lists".
const LIST_MAX: usize = 100_000;

/// Runs one command.
pub(super) fn run(session: &mut Session<'_>, command: ClientCommand) -> Outcome<()> {
    match command {
        ClientCommand::Volume(command) => volume::run(session, command),
        ClientCommand::Snapshot(command) => snapshot::run(session, command),
        ClientCommand::Attachment(command) => attachment::run(session, command),
        ClientCommand::Attach(args) => attachment::attach(session, &args),
        ClientCommand::Detach(args) => attachment::detach(session, &args),
        ClientCommand::Host(command) => host::run(session, command),
        ClientCommand::Profile(command) => profile::run(session, command),
        ClientCommand::Pool(command) => pool::run(session, command),
        ClientCommand::Doctor(args) => doctor::run(session, &args),
        ClientCommand::Wait(args) => wait_for(session, args),
    }
}

/// The conditions of a list, as the server wants them.
type Query = Vec<(&'static str, String)>;

impl Session<'_> {
    fn id(&self, kind: Kind, typed: &str) -> Outcome<String> {
        id_of(&self.api, kind, typed)
    }

    /// Adds the resource that `typed` names, if anything was typed, to `query` as `field`.
    fn narrow(&self, query: &mut Query, field: &'static str, kind: Kind, typed: Option<&String>) -> Outcome<()> {
        if let Some(typed) = typed {
            query.push((field, self.id(kind, typed)?));
        }
        Ok(())
    }

    fn list(&mut self, kind: Kind, mut query: Query, page: &PageArgs) -> Outcome<()> {
        let limit = page.limit.map_or(LIST_MAX, |limit| limit as usize);
        query.push(("limit", limit.to_string()));
        query.extend(page.offset.map(|offset| ("offset", offset.to_string())));
        query.extend(page.sort_key.clone().map(|key| ("sortKey", key)));
        query.extend(page.sort_dir.map(|direction| ("sortDir", word(direction))));
        let filters = page.filter.iter().map(|(field, value)| (field.as_str(), value.clone()));
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.clone())).chain(filters).collect();
        let rows = match self.api.get(kind.path(), &query)? {
            Value::Array(rows) => rows,
            Value::Null => Vec::new(),
            _ => {
                return Err(Failure::new(
                    Exit::Server,
                    format!("the server answered with something that is no list of {}s", kind.word()),
                ));
            }
        };
        output::list(self.out, self.format, kind, &rows)?;
        if page.limit.is_none() && rows.len() >= LIST_MAX {
            self.out.flush()?;
            writeln!(self.messages, "berth: shown are the first {LIST_MAX}; narrow the list with --filter, or page with --offset")?;
        }
        Ok(())
    }

    fn list_by_name(&mut self, kind: Kind, args: &NamedListArgs) -> Outcome<()> {
        let name = kind.name_field().zip(args.name.clone());
        self.list(kind, name.into_iter().collect(), &args.page)
    }

    fn show(&mut self, kind: Kind, args: &Ids) -> Outcome<()> {
        let (rows, done) = self.each(&args.ids, |session, typed| {
            let id = session.id(kind, typed)?;
            session.api.get(&kind.path_of(&id), &[])
        });
        output::show(self.out, self.format, kind, &rows, args.ids.len() > 1)?;
        done
    }

    fn journal(&mut self, kind: Kind, args: &JournalArgs) -> Outcome<()> {
        let id = self.id(kind, &args.id)?;
        let entries = journal(&self.api, kind, &id, args.since, args.limit.map(|limit| limit as usize))?;
        Ok(output::journal(self.out, self.format, &entries)?)
    }

    /// Makes something and prints it.
    fn create(&mut self, kind: Kind, body: &Map<String, Value>, wait: Option<&WaitArgs>) -> Outcome<()> {
        let made = self.api.post(kind.path(), &Value::Object(body.clone()))?;
        self.finish(kind, made, wait)
    }

    /// Changes the fields that `body` names and prints the resource.
    fn update(&mut self, kind: Kind, typed: &str, body: Map<String, Value>) -> Outcome<()> {
        let id = self.id(kind, typed)?;
        let changed = self.api.put(&kind.path_of(&id), &Value::Object(body))?;
        self.finish(kind, changed, None)
    }

    fn rename(&mut self, kind: Kind, args: &RenameArgs) -> Outcome<()> {
        let mut body = Map::new();
        put(&mut body, "name", args.naming.name.as_ref());
        put(&mut body, "description", args.naming.description.as_ref());
        self.update(kind, &args.id, body)
    }

    /// Waits for the end of what answered with `body`, if asked to, and prints the resource as it is then.
    ///
    /// The id is told before the wait: an interrupted wait must not lose what was made.
    fn finish(&mut self, kind: Kind, body: Value, wait: Option<&WaitArgs>) -> Outcome<()> {
        let id = id_in(&body)?;
        let body = match wait.filter(|wait| wait.wait) {
            Some(wait) => {
                let status = output::clean(body["status"].as_str().unwrap_or("asked for"));
                writeln!(self.messages, "{} is {status}; waiting", kind.describe(&body, &id))?;
                self.settle(kind, &id, Aim::of_answer(&body), wait)?
            }
            None => body,
        };
        Ok(output::changed(self.out, self.format, kind, &[body], false)?)
    }

    fn settle(&self, kind: Kind, id: &str, aim: Aim, wait: &WaitArgs) -> Outcome<Value> {
        let (is_watched, pace, timeout) = (self.is_watched, self.pace, wait.timeout);
        Wait { api: &self.api, kind, id, aim, timeout, was_there: true, is_watched, pace }.run()
    }

    /// Posts `verb` to each, waits if asked to, and prints them.
    fn again(&mut self, kind: Kind, verb: &str, args: &Again) -> Outcome<()> {
        self.each_settled(kind, &args.of.ids, &args.wait, |session, id| {
            let answer = session.api.post(&format!("{}/{verb}", kind.path_of(id)), &json!({}))?;
            let aim = if verb == "recover" { Aim::Recovered } else { Aim::of_answer(&answer) };
            Ok((answer, aim))
        })
    }

    /// Deletes each, waits if asked to, and prints them as they are then.
    fn delete(&mut self, kind: Kind, ids: &[String], query: &Query, wait: &WaitArgs) -> Outcome<()> {
        self.each_settled(kind, ids, wait, |session, id| {
            session.api.delete(&kind.path_of(id), query)?;
            // The answer to DELETE is empty; where nobody waits, this is what tells how far it is.
            let now = match wait.wait {
                true => Value::Null,
                false => present(session, kind, id)?,
            };
            Ok((now, Aim::Gone))
        })
    }

    /// Deletes what is gone at once.
    fn remove(&mut self, kind: Kind, args: &Ids) -> Outcome<()> {
        let (rows, done) = self.each(&args.ids, |session, typed| {
            let id = session.id(kind, typed)?;
            session.api.delete(&kind.path_of(&id), &[])?;
            Ok(json!({"id": id, "status": "deleted"}))
        });
        if self.format != crate::cli::Format::Table {
            output::changed(self.out, self.format, kind, &rows, args.ids.len() > 1)?;
        }
        for row in &rows {
            writeln!(self.messages, "{} deleted", kind.describe(row, row["id"].as_str().unwrap_or_default()))?;
        }
        done
    }

    /// Asks each, then waits for each if asked to, then prints all.
    fn each_settled(
        &mut self,
        kind: Kind,
        typed: &[String],
        wait: &WaitArgs,
        mut ask: impl FnMut(&Self, &str) -> Outcome<(Value, Aim)>,
    ) -> Outcome<()> {
        let (asked, done) = self.each(typed, |session, typed| {
            let id = session.id(kind, typed)?;
            ask(session, &id).map(|(body, aim)| (id, body, aim))
        });
        let (rows, settled) = self.each(&asked, |session, (id, body, aim)| match wait.wait {
            true => session.settle(kind, id, aim.clone(), wait),
            false => Ok(body.clone()),
        });
        output::changed(self.out, self.format, kind, &rows, typed.len() > 1)?;
        done.and(settled)
    }

    /// Does `act` for each; every failure is told at once, and the first one's exit code is returned without a message.
    fn each<T, R>(&mut self, items: &[T], mut act: impl FnMut(&Self, &T) -> Outcome<R>) -> (Vec<R>, Outcome<()>) {
        let mut results = Vec::new();
        let mut first = None;
        for item in items {
            match act(self, item) {
                Ok(result) => results.push(result),
                Err(failure) => {
                    tell(self.messages, &failure);
                    first.get_or_insert(failure.exit);
                }
            }
        }
        (results, first.map_or(Ok(()), |exit| Err(Failure::new(exit, ""))))
    }
}

fn wait_for(session: &mut Session<'_>, args: WaitForArgs) -> Outcome<()> {
    let kind = match args.kind {
        WaitKind::Volume => Kind::Volume,
        WaitKind::Snapshot => Kind::Snapshot,
        WaitKind::Attachment => Kind::Attachment,
    };
    let id = session.id(kind, &args.id)?;
    let (aim, is_watched, pace) = (Aim::Words(args.goal.0), session.is_watched, session.pace);
    let wait = Wait { api: &session.api, kind, id: &id, aim, timeout: args.timeout, was_there: false, is_watched, pace };
    let body = wait.run()?;
    Ok(output::changed(session.out, session.format, kind, &[body], false)?)
}

/// The resource as it is now; one that is not found after an accepted deletion is deleted.
fn present(session: &Session<'_>, kind: Kind, id: &str) -> Outcome<Value> {
    match session.api.get(&kind.path_of(id), &[]) {
        Err(failure) if failure.exit == Exit::NotFound => Ok(json!({"id": id, "status": "deleted"})),
        answer => answer,
    }
}

fn id_in(body: &Value) -> Outcome<String> {
    let id = body["id"].as_str().filter(|id| !id.is_empty());
    id.map(Into::into).ok_or_else(|| Failure::new(Exit::Server, "the server answered without an id; look with list at what it did"))
}

/// Puts `value` into `body`, if there is one.
fn put<T: Into<Value> + Clone>(body: &mut Map<String, Value>, field: &str, value: Option<&T>) {
    if let Some(value) = value {
        body.insert(field.into(), value.clone().into());
    }
}

/// Puts `pairs` into `body` as an object, if there are any. The last of one key counts.
fn put_pairs(body: &mut Map<String, Value>, field: &str, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        let pairs: Map<_, _> = pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        body.insert(field.into(), pairs.into());
    }
}

/// The statuses of a list as conditions: any of them.
fn statuses(words: &[String]) -> impl Iterator<Item = (&'static str, String)> {
    words.iter().map(|word| ("status", word.clone()))
}
