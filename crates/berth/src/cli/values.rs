//! How values on the command line are read: sizes, times, pairs, initiators, and statuses to wait for.
//!
//! - A size is whole GiB, as on the wire; what is no whole GiB is refused rather than rounded.
//! - Every number has a largest value, and every refusal tells what is wanted.

use std::time::Duration;

/// How long a wait may take at most: a week. Longer is a slip of the pen.
const TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most GiB that fit into 63 bits of bytes: more cannot be a size.
const SIZE_MAX_GIB: u64 = (1 << 33) - 1;
/// The longest id of an event: an epoch, a revision and a number are shorter.
pub(crate) const EVENT_ID_MAX: usize = 255;
/// How many GiB a TiB has.
const GIB_PER_TIB: u64 = 1024;

/// The statuses that a wait is for, any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal(pub(crate) Vec<String>);

/// Reads `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("want key=value".into()),
    }
}

/// An initiator of a host: a name that it uses with a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Initiator {
    /// The protocol.
    pub(crate) protocol: String,
    /// The name. It may hold colons, as those of iSCSI do.
    pub(crate) name: String,
}

/// Reads `protocol:name`.
pub(super) fn initiator(text: &str) -> Result<Initiator, String> {
    match text.split_once(':') {
        Some((protocol, name)) if !protocol.is_empty() && !name.is_empty() => {
            Ok(Initiator { protocol: protocol.into(), name: name.into() })
        }
        _ => Err("want PROTOCOL:NAME, as nbd:db-1 or iscsi:iqn.2026-11.org.example:db-1".into()),
    }
}

/// Reads a size in GiB: a number, or one with `GiB` or `TiB` behind it.
pub(super) fn size_gib(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.strip_suffix("TiB") {
        Some(digits) => (digits, GIB_PER_TIB),
        None => (text.strip_suffix("GiB").unwrap_or(text), 1),
    };
    let size = digits.trim_end().parse::<u64>().ok().and_then(|size| size.checked_mul(scale));
    match size {
        Some(size) if (1..=SIZE_MAX_GIB).contains(&size) => Ok(size),
        _ => Err(format!("want whole GiB from 1 to {SIZE_MAX_GIB}, as 10, 10GiB or 2TiB")),
    }
}

/// Reads a time: seconds, or a number with `s`, `m` or `h` behind it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let scale = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = scale.and_then(|scale| digits.parse::<u64>().ok()?.checked_mul(scale));
    match seconds.map(Duration::from_secs) {
        Some(time) if !time.is_zero() && time <= TIMEOUT_MAX => Ok(time),
        _ => Err("want a time from 1s to a week, as 90, 90s, 5m or 1h".into()),
    }
}

/// Reads the id of an event, or a revision: what is kept apart by the server, so that here only what can be sent is taken.
pub(super) fn event_id(text: &str) -> Result<String, String> {
    match text.len() {
        1..=EVENT_ID_MAX if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.into()),
        _ => Err("want the eventId of an event, as -o json prints it, or a revision".into()),
    }
}

/// Reads what to wait for: `[status=]WORD`, alternatives with `,` or `|`.
pub(super) fn goal(text: &str) -> Result<Goal, String> {
    let words = text.strip_prefix("status=").unwrap_or(text);
    let words: Vec<String> = words.split([',', '|']).map(Into::into).collect();
    let is_word = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    if words.iter().all(is_word) { Ok(Goal(words)) } else { Err("want status=WORD, as status=available, or deleted".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_gib() {
        let rows = [("1", Some(1)), ("10GiB", Some(10)), ("2TiB", Some(2048)), ("8589934591", Some(SIZE_MAX_GIB))];
        let refused = ["0", "-1", "1.5", "", "GiB", "8589934592", "18446744073709551615TiB", "10MB", "1e3"];
        for (text, want) in rows.into_iter().chain(refused.map(|text| (text, None))) {
            assert_eq!(size_gib(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        let rows = [("90", Some(90)), ("90s", Some(90)), ("5m", Some(300)), ("1h", Some(3600)), ("168h", Some(604_800))];
        let refused = ["0", "0s", "169h", "5mm", "m", "", "-5", "5 m", "1d", "99999999999999999999h", "é"];
        for (text, want) in rows.into_iter().chain(refused.map(|text| (text, None))) {
            assert_eq!(duration(text).ok(), want.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn goals_are_words() {
        let of = |words: &[&str]| Some(Goal(words.iter().map(|word| (*word).into()).collect()));
        assert_eq!(goal("status=available").ok(), of(&["available"]));
        assert_eq!(goal("deleted").ok(), of(&["deleted"]));
        assert_eq!(goal("status=available|inUse,error").ok(), of(&["available", "inUse", "error"]));
        for text in ["", "status=", "a,,b", "status=in use", "size=3", "x&y"] {
            assert!(goal(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_of_events_are_what_can_be_sent() {
        assert_eq!(event_id("0a1b-7.2"), Ok("0a1b-7.2".into()));
        for text in ["", "a b", "a\nb", "\u{e9}", &"x".repeat(EVENT_ID_MAX + 1)] {
            assert!(event_id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn initiators_split_at_the_first_colon() {
        let of = |protocol: &str, name: &str| Ok(Initiator { protocol: protocol.into(), name: name.into() });
        assert_eq!(initiator("nbd:CN=db-1,O=x"), of("nbd", "CN=db-1,O=x"));
        assert_eq!(initiator("iscsi:iqn.2026-11.org.example:x"), of("iscsi", "iqn.2026-11.org.example:x"));
        for text in ["", ":", "nbd", "nbd:", ":x"] {
            assert!(initiator(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("=b").is_err());
        assert!(pair("a").is_err());
    }
}
