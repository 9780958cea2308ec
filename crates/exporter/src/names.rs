//! The names of exports on the wire: `<attachment id>.<secret>`.
//!
//! The id is told to whoever may read the API; the secret only to whoever is told how to connect. So the name is a capability:
//! with the address rule it keeps one tenant of a host from another's volumes, and it is not a substitute for TLS, as plain NBD
//! shows it to whoever reads the wire.
//!
//! Invariants: a name depends on the key and the id alone, so it is the same after a restart with the same key; how long it takes
//! to see that a secret is wrong depends neither on the secret nor on whether the id is exported.

use lifecycle::AttachmentId;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use subtle::ConstantTimeEq;

/// The key that the secrets of all export names are made with.
#[derive(Clone)]
pub struct NameKey([u8; 32]);

impl NameKey {
    /// One that nobody else knows, and that is gone with the process.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).expect("Linux gives random bytes to whoever asks");
        Self(bytes)
    }

    /// Its bytes, to be kept where nobody else reads them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for NameKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The key itself is never printed.
impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey(..)")
    }
}

/// Makes names and reads them.
pub(crate) struct Names(hmac::Key);

impl Names {
    pub(crate) fn new(key: &NameKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }

    /// The name of the attachment's export.
    pub(crate) fn of(&self, attachment: AttachmentId) -> String {
        format!("{attachment}.{}", self.secret(attachment))
    }

    /// The attachment that a name is of, if its secret is right.
    pub(crate) fn read(&self, name: &str) -> Option<AttachmentId> {
        let (id, secret) = name.split_once('.')?;
        let attachment: AttachmentId = id.parse().ok()?;
        let is_right: bool = self.secret(attachment).as_bytes().ct_eq(secret.as_bytes()).into();
        is_right.then_some(attachment)
    }

    /// The first half of HMAC-SHA256 of the id: 128 bits cannot be guessed, and names stay short.
    fn secret(&self, attachment: AttachmentId) -> String {
        let tag = hmac::sign(&self.0, attachment.0.as_bytes());
        let told = tag.as_ref().first_chunk().expect("HMAC-SHA256 gives 32 bytes");
        format!("{:032x}", u128::from_be_bytes(*told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ID: AttachmentId = AttachmentId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));

    #[test]
    fn a_name_is_read_by_its_own_key_and_by_no_other() {
        let names = Names::new(&NameKey::from([7; 32]));
        let name = names.of(ID);
        assert_eq!(names.read(&name), Some(ID));
        assert_eq!(Names::new(&NameKey::from([7; 32])).of(ID), name, "it is the same after a restart");
        assert_eq!(Names::new(&NameKey::from([8; 32])).read(&name), None);
        assert_eq!(Names::new(&NameKey::random()).read(&name), None);
    }

    /// A name that changes with a release would cut every client from its volume. Checked against Python's hmac.
    #[test]
    fn the_secret_is_the_documented_one() {
        let name = Names::new(&NameKey::from([7; 32])).of(ID);
        assert_eq!(name, "01234567-89ab-cdef-0123-456789abcdef.88944bc0a8673ab8d1a6ddc056e10ad1");
    }

    #[test]
    fn what_is_not_quite_the_name_is_none() {
        let names = Names::new(&NameKey::from([7; 32]));
        let name = names.of(ID);
        let other = names.of(AttachmentId(Uuid::from_u128(1)));
        let mixed = format!("{ID}.{}", other.split_once('.').expect("a name").1);
        let rows = ["", ".", &ID.to_string(), &format!("{ID}."), &name[..name.len() - 1], &format!("{name}0"), &mixed];
        for wrong in rows {
            assert_eq!(names.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", NameKey::from([7; 32])), "NameKey(..)");
    }
}
