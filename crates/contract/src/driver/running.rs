//! Calls under way: one that may hang, crash or be forgotten, and a list while it is told.

use super::acts::Act;
use engine::ports::{Driver, Listed, Unanswered};
use lifecycle::{Outcome, Token};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A call that is under way, on a thread of its own: it may hang there and keep nobody.
pub(super) struct Running {
    call: JoinHandle<Option<Outcome>>,
    forget: oneshot::Sender<()>,
}

impl Running {
    /// Begins the call.
    pub(super) fn start(driver: &Arc<dyn Driver>, act: Act, token: Token) -> Self {
        let (forget, mut forgotten) = oneshot::channel();
        let (driver, runtime) = (Arc::clone(driver), Handle::current());
        let work = async move {
            let mut call = pin!(act.perform(&*driver, token));
            poll_fn(|context| match Pin::new(&mut forgotten).poll(context) {
                Poll::Ready(Ok(())) => Poll::Ready(None),
                Poll::Ready(Err(_)) | Poll::Pending => call.as_mut().poll(context).map(Some),
            })
            .await
        };
        Self { call: tokio::task::spawn_blocking(move || runtime.block_on(work)), forget }
    }

    pub(super) fn is_over(&self) -> bool {
        self.call.is_finished()
    }

    /// Waits for its end: its outcome, or nothing if it crashed.
    pub(super) async fn end(self) -> Option<Outcome> {
        let Self { call, forget } = self;
        let outcome = call.await.ok().flatten();
        drop(forget);
        outcome
    }

    /// Has the call's future dropped as soon as what hangs lets go.
    pub(super) fn forget(self) -> JoinHandle<Option<Outcome>> {
        // Nobody listens any more if the call is over.
        let _ = self.forget.send(());
        self.call
    }
}

/// Everything that a driver lists: what it has told by the time its answer comes.
///
/// # Errors
/// The driver's own; what was told before is no list then.
pub async fn list(driver: &dyn Driver) -> Result<Vec<Listed>, Unanswered> {
    let (teller, mut batches) = mpsc::channel(1);
    let mut answer = pin!(driver.list(teller));
    let mut all = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(batch) = batches.recv() => all.extend(batch),
            answer = answer.as_mut() => {
                while let Ok(batch) = batches.try_recv() {
                    all.extend(batch);
                }
                return answer.map(|()| all);
            }
        }
    }
}
