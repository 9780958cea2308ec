//! Metadata contexts: what a client may have told of a range beside its bytes.
//!
//! There are two. A block status answers with one chunk for each that was chosen, over the same extents:
//! - `base:allocation`: bit 0, it is a hole; bit 1, it reads as zeroes. Source: protocol document, "Metadata querying";
//! - `qemu:allocation-depth`: in which layer of a chain the bytes are. A volume has no layers below it, so 1 says that they are here
//!   and 0 that they are nowhere. Source: qemu's `docs/interop/nbd.txt`.

use super::request::Extent;

/// A context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// `base:allocation`.
    Allocation,
    /// `qemu:allocation-depth`.
    Depth,
}

impl Context {
    const ALL: [Self; 2] = [Self::Allocation, Self::Depth];

    /// Its name on the wire: a namespace, a colon, and the rest.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::Depth => "qemu:allocation-depth",
        }
    }

    /// Its number on this server; never 0, which a listing shows.
    pub(crate) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Depth => 2,
        }
    }

    /// What it says of an extent.
    pub(crate) const fn flags(self, extent: Extent) -> u32 {
        const HOLE_AND_ZERO: u32 = 0b11;
        match (self, extent.hole) {
            (Self::Allocation, true) => HOLE_AND_ZERO,
            (Self::Allocation, false) | (Self::Depth, true) => 0,
            (Self::Depth, false) => 1,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.id()
    }
}

/// Some of the contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contexts(u8);

impl Contexts {
    /// All that there are.
    pub(crate) fn all() -> Self {
        Context::ALL.into_iter().fold(Self::default(), Self::with)
    }

    /// Those that a query of a choice names: one or none.
    pub(crate) fn named(query: &str) -> Self {
        Self::matching(|name| name == query)
    }

    /// Those that a query of a listing finds: by name, or all of a namespace that ends in its colon.
    pub(crate) fn found(query: &str) -> Self {
        Self::matching(|name| {
            name == query || query.ends_with(':') && name.strip_prefix(query).is_some_and(|rest| !rest.is_empty())
        })
    }

    fn matching(matches: impl Fn(&str) -> bool) -> Self {
        Context::ALL.into_iter().filter(|context| matches(context.name())).fold(Self::default(), Self::with)
    }

    pub(crate) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    const fn with(self, context: Context) -> Self {
        Self(self.0 | context.bit())
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of their numbers.
    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = Context> {
        Context::ALL.into_iter().filter(move |context| self.0 & context.bit() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_find_what_they_name() {
        let names = |contexts: Contexts| contexts.iter().map(Context::name).collect::<Vec<_>>();
        let (base, depth) = ("base:allocation", "qemu:allocation-depth");
        let rows: [(&str, &[&str], &[&str]); 8] = [
            (base, &[base], &[base]),
            (depth, &[depth], &[depth]),
            ("base:", &[], &[base]),
            ("qemu:", &[], &[depth]),
            ("", &[], &[]),
            ("base", &[], &[]),
            ("qemu:allocation-depth:", &[], &[]),
            ("x-other:thing", &[], &[]),
        ];
        for (query, named, found) in rows {
            assert_eq!(names(Contexts::named(query)), named, "{query}");
            assert_eq!(names(Contexts::found(query)), found, "{query}");
        }
        assert_eq!(names(Contexts::all()), [base, depth]);
        assert!(Contexts::default().is_empty() && !Contexts::all().is_empty());
    }

    #[test]
    fn contexts_say_the_same_of_an_extent_in_their_own_words() {
        let flags = |hole| Context::ALL.map(|context| context.flags(Extent { length: 1, hole }));
        assert_eq!((flags(true), flags(false)), ([3, 0], [0, 1]));
    }
}
