//! Counts the panics of a thread, also of those that a runtime swallows: a task's panic is its own, and whoever awaits it may not ask.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// How many there were on this thread since this was first called.
pub(super) fn count() -> u64 {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |told| {
            COUNT.set(COUNT.get() + 1);
            before(told);
        }));
    });
    COUNT.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_that_nobody_asks_for_is_counted() {
        let before = count();
        let ended = tokio::spawn(async { panic!("on purpose") }).await;
        assert!(ended.is_err_and(|ended| ended.is_panic()));
        assert_eq!(count(), before + 1);
    }
}
