//! Questions to drivers and exporters that are asked outside a volume's own calls: waited for so long, and a panic in one is an answer
//! that was not given.
//!
//! Whoever asks here asks for as long as the engine lives (`recovery`, `drift`): an unwinding call would end that for good, unseen.

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
    let mut question = pin!(question);
    // A question that panicked is never polled again, so nobody sees what it left half-done.
    let caught = std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| question.as_mut().poll(context))) {
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(Unheard::Panicked)),
    });
    tokio::time::timeout(limit, caught).await.unwrap_or(Err(Unheard::Late))
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
