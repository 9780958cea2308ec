//! The words of the NBD wire: parsing what a client sent, encoding what it is answered. Pure; no sockets, no files.
//!
//! Not here: who may connect (`exports`), reading and writing sockets (`handshake`, `session`).
//!
//! Invariants:
//! - nothing here allocates by a length that a client sent: callers hand in bytes that they bounded before;
//! - a parser returns a value or an error and never panics, whatever the bytes;
//! - all integers are big-endian on the wire.
//!
//! Source: the NBD protocol document (`doc/proto.md` of NetworkBlockDevice/nbd), by section in each submodule.

pub(crate) mod context;
pub(crate) mod option;
pub(crate) mod request;

/// Takes integers and strings off the front of a slice; `None` when it is too short.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string with its length before it in 32 bits.
    fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        core::str::from_utf8(self.take(length)?).ok()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod noise {
    //! Bytes that look random and are the same in every run.

    /// A xorshift generator: the tests need spread, not secrecy.
    pub(crate) struct Noise(pub(crate) u64);

    impl Noise {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        pub(crate) fn bytes(&mut self, length_max: usize) -> Vec<u8> {
            let length = usize::try_from(self.next()).expect("64-bit") % (length_max + 1);
            (0..length).map(|_| self.next().to_be_bytes()[3]).collect()
        }
    }
}
