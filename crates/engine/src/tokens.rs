//! The fence against late calls, for exporters: the newest token seen of each attachment.
//!
//! Invariants:
//! - a call with a token older than the newest seen for its attachment is refused, also after the export ended;
//! - a call of a newer start of the controller voids every token of older starts, whatever its attachment: the older controller
//!   is gone, or must not act any more;
//! - memory is bounded: beyond [`REMEMBERED_MAX`] the attachment touched longest ago is forgotten. What that gives up: a call of
//!   the *same* start, for an attachment that was forgotten in it, is not told late.
//!
//! Source: lifecycle page, "Fencing".

use lifecycle::{AttachmentId, Token};
use std::collections::BTreeMap;

/// How many attachments are remembered: about 8 MiB, and some weeks of attaching in most places.
const REMEMBERED_MAX: usize = 65_536;

/// The newest tokens. Callers hold a lock around it, the same for the check and for the step that it allows.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The newest start of the controller that called: every token of an older one is void.
    incarnation: u64,
    /// The newest counter of that start for each attachment, and when it was touched.
    newest: BTreeMap<AttachmentId, (u64, u64)>,
    /// Who was touched when, oldest first.
    touched: BTreeMap<u64, AttachmentId>,
    touches: u64,
}

impl Tokens {
    /// Notes that a call with `token` came.
    ///
    /// # Errors
    /// The newer token that stands in its way; a counter of 0 stands for any call of that start.
    pub fn see(&mut self, attachment: AttachmentId, token: Token) -> Result<(), Token> {
        if token.incarnation < self.incarnation {
            return Err(self.newest(attachment));
        }
        if token.incarnation > self.incarnation {
            // No older token passes any more, so none needs remembering.
            *self = Self { incarnation: token.incarnation, ..Self::default() };
        }
        match self.newest.get(&attachment) {
            Some((newest, _)) if token.counter < *newest => return Err(self.newest(attachment)),
            Some((_, touch)) => drop(self.touched.remove(touch)),
            None => {}
        }
        self.touches += 1;
        self.newest.insert(attachment, (token.counter, self.touches));
        self.touched.insert(self.touches, attachment);
        if self.newest.len() > REMEMBERED_MAX {
            self.forget_one();
        }
        Ok(())
    }

    /// Whether no newer call came since the one with `token`.
    #[must_use]
    pub fn is_newest(&self, attachment: AttachmentId, token: Token) -> bool {
        token >= self.newest(attachment)
    }

    /// The newest token that concerns this attachment.
    fn newest(&self, attachment: AttachmentId) -> Token {
        let counter = self.newest.get(&attachment).map_or(0, |(counter, _)| *counter);
        Token { incarnation: self.incarnation, counter }
    }

    fn forget_one(&mut self) {
        if let Some((_, attachment)) = self.touched.pop_first() {
            self.newest.remove(&attachment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const fn token(incarnation: u64, counter: u64) -> Token {
        Token { incarnation, counter }
    }

    const fn attachment(number: usize) -> AttachmentId {
        AttachmentId(Uuid::from_u128(number as u128))
    }

    #[test]
    fn an_older_token_is_refused_and_an_equal_one_is_a_repeat() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.see(attachment(1), token(2, 5)), Ok(()));
        assert_eq!(tokens.see(attachment(1), token(2, 5)), Ok(()));
        assert_eq!(tokens.see(attachment(1), token(2, 4)), Err(token(2, 5)));
        assert_eq!(tokens.see(attachment(1), token(1, 9)), Err(token(2, 5)));
        assert_eq!(tokens.see(attachment(2), token(2, 1)), Ok(()), "within a start each attachment has its own order");
        assert!(tokens.is_newest(attachment(1), token(2, 5)) && !tokens.is_newest(attachment(1), token(2, 4)));
    }

    #[test]
    fn a_newer_start_voids_the_older_ones_for_every_attachment() {
        let mut tokens = Tokens::default();
        tokens.see(attachment(1), token(2, 500)).expect("the first");
        assert!(tokens.is_newest(attachment(1), token(2, 500)));
        tokens.see(attachment(2), token(3, 1)).expect("newer, of another attachment");
        assert!(!tokens.is_newest(attachment(1), token(2, 500)), "a call under way is void as well");
        assert_eq!(tokens.see(attachment(1), token(2, 501)), Err(token(3, 0)));
        assert_eq!(tokens.see(attachment(3), token(2, 1)), Err(token(3, 0)), "one never seen before");
        assert_eq!(tokens.see(attachment(1), token(3, 1)), Ok(()), "a new start counts anew");
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_stays_fenced_against_older_starts() {
        let mut tokens = Tokens::default();
        tokens.see(attachment(0), token(7, 100)).expect("the first");
        for number in 1..=REMEMBERED_MAX {
            tokens.see(attachment(number), token(7, 1)).expect("new");
        }
        assert_eq!((tokens.newest.len(), tokens.touched.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert_eq!(tokens.see(attachment(0), token(6, 200)), Err(token(7, 0)), "forgotten, and of an older start");
        assert_eq!(tokens.see(attachment(REMEMBERED_MAX + 1), token(7, 1)), Ok(()), "a new attachment begins at one");
    }
}
