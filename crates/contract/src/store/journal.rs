//! The journal: every transition that was ever committed, in order. Whoever follows it must end where the records are.

use super::records::{entry, one, put, volume, volume_id};
use engine::store::{Commit, Expected, JournalEntry, JournalQuery, Mark, Store};
use lifecycle::Subject;
use std::sync::Arc;

const START: Mark = Mark::behind(0);

const fn after(since: Mark, limit: usize) -> JournalQuery {
    JournalQuery { since, subject: None, tenant: None, limit }
}

/// Entries come back as they were written, in the order of commits and within one, by page, subject and tenant.
pub(super) async fn the_journal_is_whole_and_in_order(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let mut expected: Vec<JournalEntry> = Vec::new();
    for number in 0..20_u128 {
        let mut journal: Vec<_> = (0..number % 4).map(|at| entry(number % 5, &format!("{number} {at}"))).collect();
        journal.iter_mut().skip(1).for_each(|entry| entry.tenant = "other".into());
        let commit = Commit { journal: journal.clone(), ..one(put(volume(number, "v", 1), Expected::Absent)) };
        let revision = store.commit(commit).await.expect("it is new").revision;
        let marked = |(seq, entry)| JournalEntry { mark: Mark { revision, seq }, ..entry };
        expected.extend((0..).zip(journal).map(marked));
    }
    assert_eq!(store.journal(after(START, usize::MAX)).await, Ok(expected.clone()));
    // Behind the commit of an entry, behind the entry itself, and behind everything.
    let [seventh, last] = [7, 29].map(|at| expected[at].mark);
    let places =
        [(START, 0), (START, 1), (Mark::behind(seventh.revision), 4), (seventh, 4), (last, 9), (Mark::behind(u64::MAX >> 1), 9)];
    for (since, limit) in places {
        let wanted: Vec<_> = expected.iter().filter(|entry| entry.mark > since).take(limit).cloned().collect();
        assert_eq!(store.journal(after(since, limit)).await, Ok(wanted), "after {since:?}, at most {limit}");
    }
    for (about, tenant) in [(Some(3), None), (Some(3), Some("other")), (None, Some("other")), (Some(77), None)] {
        let about = about.map(|number| Subject::Volume(volume_id(number)));
        let is_wanted = |entry: &&JournalEntry| {
            about.is_none_or(|about| about == entry.subject) && tenant.is_none_or(|tenant| tenant == entry.tenant)
        };
        let wanted: Vec<_> = expected.iter().filter(is_wanted).cloned().collect();
        let query = JournalQuery { subject: about, tenant: tenant.map(str::to_owned), ..after(START, usize::MAX) };
        assert_eq!(store.journal(query.clone()).await, Ok(wanted), "{query:?}");
    }
    drop(store);
    assert_eq!(subject.open().await.journal(after(START, usize::MAX)).await, Ok(expected), "after reopening");
}

/// Who asks again and again for what came since finds each entry once: none turns up behind one that was read before.
pub(super) async fn who_follows_the_journal_misses_nothing(subject: &dyn super::Subject) {
    const COMMITS: u128 = 120;
    let store = subject.open().await;
    let writers: Vec<_> = (0..COMMITS)
        .map(|number| {
            let store: Arc<dyn Store> = Arc::clone(&store);
            let journal = vec![entry(number, "made"), entry(number, "and told")];
            let commit = Commit { journal, ..one(put(volume(number, "v", 1), Expected::Absent)) };
            tokio::spawn(async move { store.commit(commit).await.expect("it is new") })
        })
        .collect();
    let (mut followed, mut since) = (Vec::new(), START);
    let all_written = || writers.iter().all(tokio::task::JoinHandle::is_finished);
    loop {
        let was_over = all_written();
        let page = store.journal(after(since, 7)).await.expect("it answers");
        since = page.last().map_or(since, |entry| entry.mark);
        let is_empty = page.is_empty();
        followed.extend(page);
        if was_over && is_empty {
            break;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("it was written");
    }
    assert_eq!(followed, store.journal(after(START, usize::MAX)).await.expect("it answers"));
    assert_eq!(followed.len() as u128, 2 * COMMITS, "pages of an odd size cut commits in two");
}
