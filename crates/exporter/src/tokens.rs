//! The fence against late calls: the newest token seen of each attachment.
//!
//! Invariants:
//! - a call with a token older than the newest seen for its attachment is refused, also after the export ended;
//! - memory is bounded: beyond [`REMEMBERED_MAX`] the attachment touched longest ago is forgotten, and from then on every call of
//!   an incarnation older than the forgotten one is refused, whatever its attachment.
//!
//! The floor holds an incarnation and no counter, as counters run per slot of work: a first call for a new attachment
//! carries a small one. What that gives up: a call of the *same* incarnation, for an attachment that was forgotten in it, is
//! not told late. Source: lifecycle page, "Fencing".

use lifecycle::{AttachmentId, Token};
use std::collections::BTreeMap;

/// How many attachments are remembered: about 8 MiB, and some weeks of attaching in most places.
pub(crate) const REMEMBERED_MAX: usize = 65_536;

/// The newest tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    newest: BTreeMap<AttachmentId, (Token, u64)>,
    /// Who was touched when, oldest first.
    touched: BTreeMap<u64, AttachmentId>,
    touches: u64,
    /// Calls of older incarnations are refused for everybody who is not remembered.
    floor: u64,
}

impl Tokens {
    /// Notes that a call with `token` came. Errors with the newer token that stands in its way.
    pub(crate) fn see(&mut self, attachment: AttachmentId, token: Token) -> Result<(), Token> {
        match self.newest.get(&attachment) {
            Some((newest, _)) if token < *newest => return Err(*newest),
            Some((_, touch)) => {
                self.touched.remove(touch);
            }
            None if token.incarnation < self.floor => return Err(Token { incarnation: self.floor, counter: 0 }),
            None => {}
        }
        self.touches += 1;
        self.newest.insert(attachment, (token, self.touches));
        self.touched.insert(self.touches, attachment);
        if self.newest.len() > REMEMBERED_MAX {
            self.forget_one();
        }
        Ok(())
    }

    /// Whether no newer call came since the one with `token`.
    pub(crate) fn is_newest(&self, attachment: AttachmentId, token: Token) -> bool {
        self.newest.get(&attachment).is_none_or(|(newest, _)| *newest <= token)
    }

    fn forget_one(&mut self) {
        let Some((_, attachment)) = self.touched.pop_first() else { return };
        if let Some((token, _)) = self.newest.remove(&attachment) {
            self.floor = self.floor.max(token.incarnation);
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
        assert_eq!(tokens.see(attachment(2), token(1, 1)), Ok(()), "each attachment has its own order");
        assert!(tokens.is_newest(attachment(1), token(2, 5)) && !tokens.is_newest(attachment(1), token(2, 4)));
    }

    #[test]
    fn what_is_forgotten_leaves_a_floor_behind() {
        let mut tokens = Tokens::default();
        tokens.see(attachment(0), token(7, 100)).expect("the first");
        for number in 1..=REMEMBERED_MAX {
            tokens.see(attachment(number), token(7, 1)).expect("new");
        }
        assert_eq!(tokens.newest.len(), REMEMBERED_MAX);
        assert_eq!(tokens.touched.len(), REMEMBERED_MAX);
        assert_eq!(tokens.see(attachment(0), token(6, 200)), Err(token(7, 0)), "forgotten, and of an older start");
        assert_eq!(tokens.see(attachment(REMEMBERED_MAX + 1), token(7, 1)), Ok(()), "a new attachment begins at one");
    }
}
