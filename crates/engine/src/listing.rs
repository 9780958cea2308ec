//! Hearing everything that a driver lists, a batch at a time.
//!
//! - The deadline is that of a batch: a list of millions may take minutes, and one that hangs is given up as soon as any call is.
//! - A driver that tells faster than it is heard waits: few batches are in memory at a time. So whoever hears sets the pace, and no driver
//!   need know of it.
//! - What was heard of a list that failed is no list. Whoever hears throws it away.

use crate::patience::within;
use crate::ports::{Batches, Listed, Unanswered};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many batches may wait to be heard: one, which is read while the next is made.
const WAITING_MAX: usize = 1;
/// How many objects and batches one list may have, twenty times what one controller is meant for: a driver that goes in circles ends here.
const HEARD_MAX: usize = if cfg!(test) { 1 << 10 } else { 1 << 26 };

/// A list that is heard.
pub(crate) struct Hearing<'a> {
    /// How long it may tell nothing.
    limit: Duration,
    batches: mpsc::Receiver<Vec<Listed>>,
    told: Told<'a>,
    /// How many objects and batches it had so far.
    heard: usize,
}

/// How much of a list was told.
enum Told<'a> {
    /// A part of it, and this tells what becomes of it.
    Part(Answer<'a>),
    /// All of it: what was sent before its end can still be heard.
    All,
    /// It is not known what is missing.
    Failed,
}

/// What comes of a list, once all of it was told.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Unanswered>> + Send + 'a>>;

impl<'a> Hearing<'a> {
    /// Begins to hear what `list` tells, which may tell nothing for so long.
    pub(crate) fn begin(limit: Duration, list: impl FnOnce(Batches) -> Answer<'a>) -> Self {
        let (teller, batches) = mpsc::channel(WAITING_MAX);
        Self { limit, batches, told: Told::Part(list(teller)), heard: 0 }
    }

    /// The next batch; none at the end.
    ///
    /// # Errors
    /// Why it is not known what there is; a part of it may have been told. So it is from then on, and after a call that was not waited for.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Listed>>, String> {
        let told = std::mem::replace(&mut self.told, Told::Failed);
        if let Told::Failed = told {
            return Err("listing what the backend has was given up".into());
        }
        if let Told::Part(mut answer) = told {
            if self.heard >= HEARD_MAX {
                return Err("the backend lists without an end".into());
            }
            let next = async {
                tokio::select! {
                    biased;
                    Some(batch) = self.batches.recv() => Next::Batch(batch),
                    answer = answer.as_mut() => Next::End(answer),
                }
            };
            let next = within(self.limit, next).await.map_err(|unheard| format!("listing what the backend has {unheard}"))?;
            match next {
                Next::Batch(batch) => {
                    self.heard += 1 + batch.len();
                    self.told = Told::Part(answer);
                    return Ok(Some(batch));
                }
                Next::End(answer) => answer.map_err(|error| error.to_string())?,
            }
        }
        self.told = Told::All;
        // All was sent before it ended.
        Ok(self.batches.try_recv().ok())
    }
}

enum Next {
    Batch(Vec<Listed>),
    End(Result<(), Unanswered>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{Seen, VolumeId};
    use uuid::Uuid;

    const LIMIT: Duration = Duration::from_secs(10);

    const fn object(number: u128) -> Listed {
        Listed { volume: VolumeId(Uuid::from_u128(number)), snapshot: None, seen: Seen::Unknown, is_used: false }
    }

    async fn heard<Answer: Future<Output = Result<(), Unanswered>> + Send>(
        list: impl FnOnce(Batches) -> Answer,
    ) -> (Result<(), String>, Vec<u128>) {
        let mut all = Vec::new();
        let mut hearing = Hearing::begin(LIMIT, |batches| Box::pin(list(batches)));
        loop {
            match hearing.next().await {
                Ok(Some(batch)) => all.extend(batch.iter().map(|listed| listed.volume.0.as_u128())),
                Ok(None) => return (Ok(()), all),
                Err(error) => {
                    assert!(hearing.next().await.is_err(), "a list that failed is never whole");
                    return (Err(error), all);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_may_take_as_long_as_it_goes_on() {
        let told = heard(async |batches: Batches| {
            for number in 0..20 {
                tokio::time::sleep(LIMIT / 2).await;
                // An empty one is a sign of life, too.
                let batch = if number % 2 == 0 { vec![object(number), object(100 + number)] } else { vec![] };
                batches.send(batch).await.expect("somebody listens");
            }
            Ok(())
        });
        let all = (0..10).flat_map(|number| [2 * number, 100 + 2 * number]).collect();
        assert_eq!(told.await, (Ok(()), all));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_hangs_fails_or_panics_in_the_middle_is_none() {
        let hangs = heard(async |batches: Batches| {
            batches.send(vec![object(1)]).await.expect("somebody listens");
            std::future::pending().await
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(hangs.await.0, Err("listing what the backend has was not answered in time".into()));
        assert_eq!(begun.elapsed(), LIMIT);
        let fails = heard(async |batches: Batches| {
            batches.send(vec![object(1)]).await.expect("somebody listens");
            Err(Unanswered("gone".into()))
        });
        assert_eq!(fails.await.0, Err("gone".into()));
        let panics = heard(async |batches: Batches| {
            batches.send(vec![object(1)]).await.expect("somebody listens");
            std::panic::resume_unwind(Box::new("inside"))
        });
        assert!(panics.await.0.is_err_and(|why| why.contains("failed inside")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_an_end_is_given_up() {
        for batch in [vec![], vec![object(1)]] {
            let told = heard(async |batches: Batches| {
                while batches.send(batch.clone()).await.is_ok() {}
                Ok(())
            });
            assert_eq!(told.await.0, Err("the backend lists without an end".into()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_from_elsewhere_is_heard_to_its_end() {
        let told = heard(async |batches: Batches| {
            let thread =
                tokio::task::spawn_blocking(move || (0..100).all(|number| batches.blocking_send(vec![object(number)]).is_ok()));
            assert!(thread.await.expect("no panic"), "somebody listens");
            Ok(())
        });
        assert_eq!(told.await, (Ok(()), (0..100).collect()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_tells_is_told_that_nobody_listens() {
        let told = std::sync::Arc::new(std::sync::Mutex::new(None));
        let thread = told.clone();
        let hung = heard(async |batches: Batches| {
            *told.lock().unwrap() = Some(batches);
            std::future::pending().await
        });
        assert!(hung.await.0.is_err());
        let batches = thread.lock().unwrap().take().expect("it was asked");
        assert!(batches.is_closed());
    }
}
