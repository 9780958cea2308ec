//! One thing that is read again and again and hardly ever changes: kept in memory until somebody sets about changing it.
//!
//! Whoever changes it says so before and after, and what was read in between is not kept. A change whose end nobody heard of may come
//! at any time: from then on nothing is kept any more, and all is read.

use crate::shared::lock;
use std::sync::Mutex;

/// What is kept. See the module.
#[derive(Debug)]
pub(crate) struct Memo<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// How many changes have begun.
    begun: u64,
    /// How many of them have ended.
    ended: u64,
}

/// How many changes had ended when reading began: if none runs, all that had begun.
pub(crate) struct Since(u64);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Mutex::new(State { value: None, begun: 0, ended: 0 }))
    }
}

impl<T: Clone> Memo<T> {
    /// What is kept.
    pub(crate) fn get(&self) -> Option<T> {
        lock(&self.0).value.clone()
    }

    /// Call it before reading what is to be kept.
    pub(crate) fn reading(&self) -> Since {
        Since(lock(&self.0).ended)
    }

    /// Keeps what was read, unless it may have changed since.
    pub(crate) fn keep(&self, since: &Since, value: T) {
        let mut state = lock(&self.0);
        if state.begun == since.0 {
            state.value = Some(value);
        }
    }

    /// A change begins.
    pub(crate) fn changing(&self) {
        let mut state = lock(&self.0);
        state.begun += 1;
        state.value = None;
    }

    /// It has ended, well or not, for certain.
    pub(crate) fn changed(&self) {
        lock(&self.0).ended += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_while_it_changes_is_not_kept() {
        let memo = Memo::default();
        memo.keep(&memo.reading(), 1);
        assert_eq!(memo.get(), Some(1));
        let before = memo.reading();
        memo.changing();
        assert_eq!(memo.get(), None);
        memo.keep(&before, 1);
        memo.keep(&memo.reading(), 1);
        assert_eq!(memo.get(), None, "neither what was read before nor what is read meanwhile");
        let meanwhile = memo.reading();
        memo.changed();
        memo.keep(&before, 1);
        memo.keep(&meanwhile, 1);
        assert_eq!(memo.get(), None, "what was read meanwhile may be from before");
        memo.keep(&memo.reading(), 2);
        assert_eq!(memo.get(), Some(2));
        memo.changing();
        memo.changed();
        memo.keep(&meanwhile, 1);
        assert_eq!(memo.get(), None);
    }

    #[test]
    fn after_a_change_that_nobody_saw_end_nothing_is_kept() {
        let memo = Memo::default();
        memo.changing();
        memo.changing();
        memo.changed();
        memo.keep(&memo.reading(), 1);
        assert_eq!(memo.get(), None);
    }
}
