//! `berth wait`: until one or several resources have a status.

use super::select::is_many;
use crate::cli::{WaitForArgs, WaitKind};
use crate::client::Session;
use crate::client::exit::{Failure, Outcome};
use crate::client::kind::Kind;
use crate::client::output;
use crate::client::wait::{Aim, Several, Wait};

/// Waits, and prints what was waited for as it is then.
///
/// # Errors
/// The first that ends otherwise, or does not end in time, ends the wait; nothing is printed then but why.
pub(super) fn run(session: &mut Session<'_>, args: &WaitForArgs) -> Outcome<()> {
    let kind = kind(args.kind);
    let typed = session.typed(&args.ids)?;
    let aim = Aim::Words(args.goal.0.clone());
    let (is_watched, pace, timeout) = (session.is_watched, session.pace, args.timeout);
    let mut ids: Vec<String> = Vec::new();
    for typed in &typed {
        let id = session.id(kind, typed)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let rows = match &ids[..] {
        [id] => vec![Wait { api: &session.api, kind, id, aim, timeout, was_there: false, is_watched, pace }.run()?],
        ids => {
            let targets: Vec<_> = ids.iter().map(|id| (id.clone(), aim.clone())).collect();
            let several = Several { api: &session.api, kind, targets: &targets, timeout, was_there: false, is_watched, pace };
            let mut ended = several.run(true);
            let left = ids.len() - ended.len();
            if let Some(Err(failure)) = ended.iter().map(|(_, ended)| ended).find(|ended| ended.is_err()) {
                let more = if left == 0 { String::new() } else { format!("\n  and {left} more were still waited for") };
                return Err(Failure::new(failure.exit, format!("{failure}{more}")));
            }
            ended.sort_by_key(|(place, _)| *place);
            ended.into_iter().filter_map(|(_, ended)| ended.ok()).collect()
        }
    };
    Ok(output::changed(session.out, &session.shape, kind, &rows, is_many(&args.ids, &typed))?)
}

/// The kind that was typed.
pub(super) const fn kind(kind: WaitKind) -> Kind {
    match kind {
        WaitKind::Volume => Kind::Volume,
        WaitKind::Snapshot => Kind::Snapshot,
        WaitKind::Attachment => Kind::Attachment,
    }
}
