//! Ids, sizes, times and fencing tokens: the values every other module speaks in.
//!
//! They are types and never bare integers or strings, so that a snapshot's id cannot stand where a volume's belongs and a
//! size in GiB (which exists on the OpenSDS wire only) cannot be taken for bytes.

use core::fmt;
use core::str::FromStr;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Only as it is written, with hyphens: a thing has one name, not one in braces and one as a URN besides.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse::<uuid::fmt::Hyphenated>().map(|id| Self(id.into_uuid()))
            }
        }
    };
}

id!(
    /// Names a volume, and with it the aggregate that holds its attachments and snapshots.
    VolumeId
);
id!(
    /// Names a snapshot.
    SnapshotId
);
id!(
    /// Names an attachment, and the one export that belongs to it.
    AttachmentId
);
id!(
    /// Names a host that volumes are attached to.
    HostId
);
id!(
    /// Names a profile: what a tenant may ask of a volume.
    ProfileId
);
id!(
    /// Names a pool: the capacity that one backend offers.
    PoolId
);

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);
    /// The unit of the OpenSDS wire.
    pub const GIB: u64 = 1 << 30;

    /// `count` GiB, or nothing if that is more than 2^63 - 1 bytes: no file system addresses more.
    #[must_use]
    pub fn from_gib(count: u64) -> Option<Self> {
        count.checked_mul(Self::GIB).filter(|bytes| i64::try_from(*bytes).is_ok()).map(Self)
    }

    /// Whole GiB, rounded down.
    #[must_use]
    pub const fn gib(self) -> u64 {
        self.0 / Self::GIB
    }
}

impl fmt::Display for Bytes {
    /// Prints the largest binary unit that divides the size, so that nothing is rounded: `10 GiB`, `1536 MiB`, `17 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock of whoever made it. Used to tell people when; never to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second: `2026-11-23T12:04:05Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1000);
        let (year, month, day) = civil_date(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        if !(0..=9999).contains(&year) {
            return write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        }
        // Digit by digit: every answer tells several times, and the general way takes ten times as long.
        let mut text = *b"0000-00-00T00:00:00Z";
        for (mut left, mut at) in [(year, 4), (month, 7), (day, 10), (hour, 13), (minute, 16), (second, 19)] {
            while left > 0 {
                at -= 1;
                text[at] = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
        f.write_str(core::str::from_utf8(&text).expect("digits are UTF-8"))
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Source: the days-to-civil algorithm over 400-year eras that start in March.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Orders the calls of one slot of work, across restarts: whoever acts refuses a token older than the newest it has seen.
///
/// The incarnation is one durable commit at each start of the controller; the counter is in memory and taken at each call, so
/// a try costs no commit. Source: lifecycle page, fencing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Which start of the controller made the call.
    pub incarnation: u64,
    /// Which call of that start it is.
    pub counter: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn times_print_as_rfc_3339() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_435_445_999, "2026-11-23T12:04:05Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00Z"),
            (-62_167_219_200_001, "-001-12-31T23:59:59Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59Z"),
            (253_402_300_800_000, "10000-01-01T00:00:00Z"),
        ];
        for (millis, text) in rows {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_loses_nothing() {
        let rows = [(0, "0 B"), (17, "17 B"), (1536 << 20, "1536 MiB"), (10 << 30, "10 GiB"), (1 << 40, "1 TiB")];
        for (bytes, text) in rows {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn gib_refuses_what_no_file_system_addresses() {
        assert_eq!(Bytes::from_gib(8_589_934_591), Some(Bytes(8_589_934_591 << 30)));
        assert_eq!(Bytes::from_gib(8_589_934_592), None);
        assert_eq!(Bytes::from_gib(u64::MAX), None);
    }
}
