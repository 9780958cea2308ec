//! How a loop device tells whose it is: the name that the kernel keeps with it (`lo_file_name`) is the only record there is.
//!
//! Reading is strict: a name is ours only if writing what was read gives the same name again.

use lifecycle::AttachmentId;
use std::fmt;

/// The room that the kernel has for a name, with the zero byte at its end. Source: `LO_NAME_SIZE` in `linux/loop.h`.
pub(crate) const NAME_SIZE: usize = 64;

/// Whose device it is. Written `berth:<mark>:<attachment>`, which is 59 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Which controller made it.
    pub(crate) mark: u64,
    /// Which attachment it is the export of.
    pub(crate) attachment: AttachmentId,
}

impl Name {
    /// Reads a name; nothing if no controller of this program wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mark, attachment) = text.strip_prefix("berth:")?.split_once(':')?;
        let name = Self { mark: u64::from_str_radix(mark, 16).ok()?, attachment: attachment.parse().ok()? };
        (name.to_string() == text).then_some(name)
    }

    /// As the kernel keeps it.
    pub(crate) fn bytes(self) -> [u8; NAME_SIZE] {
        let mut bytes = [0; NAME_SIZE];
        let text = self.to_string();
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "berth:{:016x}:{}", self.mark, self.attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "berth:00000000000000ff:7f3a0000-0000-4000-8000-000000000001";

    #[test]
    fn a_name_reads_as_it_was_written_and_fits() {
        let name = Name::parse(TEXT).expect("it is one");
        assert_eq!((name.mark, name.to_string().as_str()), (0xff, TEXT));
        assert!(TEXT.len() < NAME_SIZE && name.bytes()[TEXT.len()] == 0);
    }

    #[test]
    fn what_is_written_otherwise_is_not_ours() {
        let upper = TEXT.replace("7f3a", "7F3A");
        let short_mark = TEXT.replace("00000000000000ff", "ff");
        let signed = TEXT.replace("00000000000000ff", "+0000000000000ff");
        for text in ["", "/srv/image", "berth:", "berth:ff", &upper, &short_mark, &signed, &TEXT[..58], &format!("{TEXT} ")] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
