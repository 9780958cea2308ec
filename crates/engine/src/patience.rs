//! What is asked of drivers and exporters ends: a question outside a volume's own calls is waited for so long, and a panic is an answer
//! that was not given.
//!
//! Whoever asks here asks for as long as the engine lives (`recovery`, `drift`): an unwinding call would end that for good, unseen.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    /// It took too long; the question was given up.
    #[error("was not answered in time")]
    Late,
    /// Whoever was asked panicked.
    #[error("failed inside whoever was asked; the log tells more")]
    Panicked,
}

/// The answer of `question`, if it comes within `limit`.
pub(crate) async fn within<T>(limit: Duration, question: impl Future<Output = T>) -> Result<T, Unheard> {
    match tokio::time::timeout(limit, unless_it_panics(question)).await {
        Ok(answer) => answer.map_err(|_| Unheard::Panicked),
        Err(_) => Err(Unheard::Late),
    }
}

/// What a future comes to, or what it said when it panicked. It is not polled again then, so that nobody meets what it left half-done.
pub(crate) async fn unless_it_panics<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(said(&*panic).to_owned())),
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_ends_in_an_answer_or_without_one() {
        let limit = Duration::from_secs(1);
        assert_eq!(within(limit, async { 1 }).await, Ok(1));
        assert_eq!(within(limit, std::future::pending::<u8>()).await, Err(Unheard::Late));
        let panicking = async { std::panic::resume_unwind(Box::new("inside")) };
        assert_eq!(within::<u8>(limit, panicking).await, Err(Unheard::Panicked));
    }
}
