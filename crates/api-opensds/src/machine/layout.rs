//! Where the boxes and lines of the status diagrams stand: laid out by hand.
//!
//! - Positions are hundredths of a grid whose columns and rows are the centres of boxes: `(200, 100)` is column 2, row 1.
//! - What the core's edges are is not said here: [`super::drawing`] joins the two, and its tests hold that every edge is drawn, that no
//!   line passes through a box or crosses another, and that every label is a cause of its edge.
//! - A *line* is one edge. A *stub* ends at a box and stands for every edge to it that no line draws: what a look may show in many
//!   statuses cannot be drawn without crossings, and says the same wherever it starts.

use lifecycle::Resource;

/// A position, in hundredths of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) x: i32,
    pub(super) y: i32,
}

/// Where a label stands to its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Some causes of an edge, written beside it. All of them are in its title.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) causes: &'static [&'static str],
    /// Where its base line begins, has its middle, or ends.
    pub(super) at: Point,
    pub(super) anchor: Anchor,
}

/// One edge. `from` and `to` are as in [`lifecycle::Edge`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) path: &'static [Point],
    pub(super) label: Label,
}

/// All edges to a status that no line draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stub {
    pub(super) to: &'static str,
    pub(super) path: &'static [Point],
    pub(super) label: Label,
}

/// The diagram of one kind of resource.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) resource: Resource,
    /// The lowest position that anything reaches, and the highest.
    pub(super) from: Point,
    pub(super) to: Point,
    /// Where it comes into being, and where its record has ended.
    pub(super) start: Point,
    pub(super) end: Point,
    pub(super) boxes: &'static [(&'static str, Point)],
    pub(super) lines: &'static [Line],
    pub(super) stubs: &'static [Stub],
}

/// Half of a box.
pub(super) const HALF: Point = p(30, 20);

const fn p(x: i32, y: i32) -> Point {
    Point { x, y }
}

const fn line(
    from: &'static str,
    to: &'static str,
    path: &'static [Point],
    causes: &'static [&'static str],
    at: Point,
    anchor: Anchor,
) -> Line {
    Line { from, to, path, label: Label { causes, at, anchor } }
}

const fn stub(to: &'static str, path: &'static [Point], causes: &'static [&'static str], at: Point, anchor: Anchor) -> Stub {
    Stub { to, path, label: Label { causes, at, anchor } }
}

use Anchor::{End, Middle, Start};

/// The diagram of this kind of resource.
pub(super) const fn layout(resource: Resource) -> &'static Layout {
    match resource {
        Resource::Volume => &VOLUME,
        Resource::Snapshot => &SNAPSHOT,
        Resource::Attachment => &ATTACHMENT,
    }
}

/// Creation on the left, use on the right, errors below. Attaching, detaching and extending each touch the other two and both
/// `available` and `inUse`: with `available` outside of that triangle and `inUse` within, nothing crosses.
static VOLUME: Layout = Layout {
    resource: Resource::Volume,
    from: p(20, 30),
    to: p(540, 465),
    start: p(38, 200),
    end: p(276, 305),
    boxes: &[
        ("creating", p(100, 200)),
        ("available", p(200, 200)),
        ("attaching", p(360, 100)),
        ("detaching", p(360, 200)),
        ("extending", p(360, 300)),
        ("inUse", p(470, 200)),
        ("deleting", p(200, 300)),
        ("error", p(100, 400)),
        ("errorDeleting", p(200, 400)),
        ("errorExtending", p(360, 400)),
    ],
    lines: &[
        line("", "creating", &[p(42, 200), p(70, 200)], &["create"], p(56, 195), Middle),
        line("creating", "available", &[p(130, 200), p(170, 200)], &["create done"], p(150, 195), Middle),
        line("creating", "error", &[p(90, 220), p(90, 380)], &["clean up done"], p(86, 303), End),
        line("error", "creating", &[p(102, 380), p(102, 220)], &["retry"], p(106, 345), Start),
        line("creating", "deleting", &[p(118, 220), p(118, 292), p(170, 292)], &["delete"], p(144, 287), Middle),
        line("error", "deleting", &[p(130, 400), p(142, 400), p(142, 308), p(170, 308)], &["delete"], p(138, 363), End),
        line("deleting", "errorDeleting", &[p(192, 320), p(192, 380)], &["delete refused"], p(188, 353), End),
        line("errorDeleting", "deleting", &[p(208, 380), p(208, 320)], &["delete", "retry"], p(212, 353), Start),
        line("deleting", "", &[p(230, 305), p(272, 305)], &["delete done"], p(250, 318), Middle),
        line("errorDeleting", "", &[p(230, 400), p(276, 400), p(276, 309)], &["look: absent"], p(252, 395), Middle),
        line("errorExtending", "deleting", &[p(330, 400), p(304, 400), p(304, 288), p(230, 288)], &["delete"], p(290, 283), Middle),
        line("available", "attaching", &[p(196, 180), p(196, 94), p(330, 94)], &["attach"], p(262, 89), Middle),
        line("attaching", "available", &[p(330, 106), p(204, 106), p(204, 180)], &["unexport, forced done"], p(266, 119), Middle),
        line("detaching", "available", &[p(330, 194), p(230, 194)], &["unexport done"], p(280, 189), Middle),
        line("available", "extending", &[p(206, 220), p(206, 256), p(342, 256), p(342, 280)], &["extend"], p(262, 269), End),
        line(
            "extending",
            "available",
            &[p(354, 280), p(354, 242), p(220, 242), p(220, 220)],
            &["extend done"],
            p(280, 237),
            Middle,
        ),
        line("available", "deleting", &[p(190, 220), p(190, 280)], &["delete"], p(186, 253), End),
        line("extending", "detaching", &[p(372, 280), p(372, 220)], &["extend done"], p(376, 253), Start),
        line("attaching", "detaching", &[p(354, 120), p(354, 180)], &["detach"], p(350, 153), End),
        line("detaching", "attaching", &[p(366, 180), p(366, 120)], &["attach"], p(370, 153), Start),
        line("attaching", "inUse", &[p(390, 94), p(476, 94), p(476, 180)], &["export done"], p(430, 89), Middle),
        line("inUse", "attaching", &[p(464, 180), p(464, 106), p(390, 106)], &["attach", "export lost"], p(426, 119), Middle),
        line("inUse", "detaching", &[p(440, 194), p(390, 194)], &["detach"], p(415, 189), Middle),
        line("detaching", "inUse", &[p(390, 206), p(440, 206)], &["unexport refused"], p(415, 219), Middle),
        line("inUse", "extending", &[p(478, 220), p(478, 302), p(390, 302)], &["extend"], p(482, 265), Start),
        line("extending", "inUse", &[p(390, 288), p(464, 288), p(464, 220)], &["extend done"], p(427, 283), Middle),
        line(
            "extending",
            "attaching",
            &[p(390, 314), p(512, 314), p(512, 64), p(374, 64), p(374, 80)],
            &["extend done"],
            p(450, 327),
            Middle,
        ),
        line(
            "errorExtending",
            "attaching",
            &[p(390, 400), p(526, 400), p(526, 50), p(362, 50), p(362, 80)],
            &["attach"],
            p(450, 395),
            Middle,
        ),
        line("extending", "errorExtending", &[p(352, 320), p(352, 380)], &["extend refused"], p(348, 353), End),
        line("errorExtending", "extending", &[p(368, 380), p(368, 320)], &["extend", "retry"], p(372, 353), Start),
    ],
    stubs: &[
        stub("", &[p(297, 305), p(280, 305)], &["forget"], p(291, 318), Middle),
        stub("available", &[p(178, 150), p(178, 180)], &["look: whole"], p(174, 162), End),
        stub("attaching", &[p(345, 50), p(345, 80)], &["look: whole"], p(341, 62), End),
        stub("detaching", &[p(306, 208), p(330, 208)], &["look: whole"], p(303, 212), End),
        stub("inUse", &[p(452, 150), p(452, 180)], &["look: stray client"], p(448, 162), End),
        stub("error", &[p(100, 446), p(100, 420)], &["look: absent", "look: part", "look: smaller"], p(100, 459), Middle),
        stub("errorExtending", &[p(360, 446), p(360, 420)], &["look: larger"], p(360, 459), Middle),
    ],
};

/// The whole life in one row, errors below.
static SNAPSHOT: Layout = Layout {
    resource: Resource::Snapshot,
    from: p(20, 35),
    to: p(530, 230),
    start: p(38, 100),
    end: p(510, 100),
    boxes: &[
        ("creating", p(100, 100)),
        ("available", p(210, 100)),
        ("deleting", p(330, 100)),
        ("deleted", p(445, 100)),
        ("error", p(210, 200)),
        ("errorDeleting", p(330, 200)),
    ],
    lines: &[
        line("", "creating", &[p(42, 100), p(70, 100)], &["snapshot"], p(55, 95), Middle),
        line("creating", "available", &[p(130, 100), p(180, 100)], &["create done"], p(155, 95), Middle),
        line("creating", "deleting", &[p(100, 80), p(100, 60), p(330, 60), p(330, 80)], &["delete"], p(215, 55), Middle),
        line("creating", "error", &[p(94, 120), p(94, 206), p(180, 206)], &["clean up done"], p(137, 219), Middle),
        line("error", "creating", &[p(180, 194), p(106, 194), p(106, 120)], &["retry"], p(143, 189), Middle),
        line("available", "error", &[p(202, 120), p(202, 180)], &["look: absent", "look: part", "look: smaller"], p(198, 153), End),
        line("error", "available", &[p(218, 180), p(218, 120)], &["look: whole"], p(222, 153), Start),
        line("available", "deleting", &[p(240, 96), p(300, 96)], &["delete"], p(270, 91), Middle),
        line("error", "deleting", &[p(240, 200), p(272, 200), p(272, 110), p(300, 110)], &["delete"], p(256, 195), Middle),
        line("deleting", "errorDeleting", &[p(322, 120), p(322, 180)], &["delete refused"], p(318, 153), End),
        line("errorDeleting", "deleting", &[p(338, 180), p(338, 120)], &["delete", "retry"], p(342, 153), Start),
        line("deleting", "deleted", &[p(360, 100), p(415, 100)], &["delete done"], p(387, 95), Middle),
        line("errorDeleting", "deleted", &[p(360, 200), p(445, 200), p(445, 120)], &["look: absent"], p(402, 195), Middle),
        line("deleted", "", &[p(475, 100), p(506, 100)], &["expiry"], p(490, 95), Middle),
    ],
    stubs: &[stub("", &[p(510, 66), p(510, 96)], &["forget"], p(510, 61), Middle)],
};

/// The whole life in one row, errors below.
static ATTACHMENT: Layout = Layout {
    resource: Resource::Attachment,
    from: p(20, 65),
    to: p(460, 270),
    start: p(38, 100),
    end: p(438, 100),
    boxes: &[
        ("attaching", p(100, 100)),
        ("attached", p(235, 100)),
        ("detached", p(370, 100)),
        ("errorAttaching", p(100, 200)),
        ("errorDetaching", p(235, 200)),
    ],
    lines: &[
        line("", "attaching", &[p(42, 100), p(70, 100)], &["attach"], p(55, 95), Middle),
        line("attaching", "attached", &[p(130, 94), p(205, 94)], &["export done", "detach"], p(167, 89), Middle),
        line("attached", "attaching", &[p(205, 106), p(130, 106)], &["export lost"], p(167, 119), Middle),
        line("attached", "detached", &[p(265, 100), p(340, 100)], &["unexport done"], p(302, 95), Middle),
        line("detached", "", &[p(400, 100), p(434, 100)], &["expiry"], p(416, 95), Middle),
        line("attaching", "errorAttaching", &[p(92, 120), p(92, 180)], &["unexport, forced done"], p(88, 153), End),
        line("errorAttaching", "attaching", &[p(104, 180), p(104, 120)], &["retry"], p(108, 162), Start),
        line(
            "attaching",
            "errorDetaching",
            &[p(122, 120), p(122, 138), p(152, 138), p(152, 200), p(205, 200)],
            &["export deadline"],
            p(178, 213),
            Middle,
        ),
        line("attached", "errorDetaching", &[p(227, 120), p(227, 180)], &["unexport refused"], p(223, 153), End),
        line("errorDetaching", "attached", &[p(243, 180), p(243, 120)], &["detach", "retry"], p(247, 153), Start),
        line(
            "errorDetaching",
            "detached",
            &[p(265, 200), p(360, 200), p(360, 120)],
            &["look at the export absent"],
            p(311, 195),
            Middle,
        ),
        line(
            "errorAttaching",
            "detached",
            &[p(104, 220), p(104, 238), p(380, 238), p(380, 120)],
            &["delete", "detach"],
            p(235, 233),
            Middle,
        ),
        line("errorAttaching", "", &[p(90, 220), p(90, 252), p(438, 252), p(438, 104)], &["forget"], p(235, 265), Middle),
    ],
    stubs: &[],
};
