//! The core's edges joined with the layout: what is drawn, and where.

use super::layout::{Label, Layout, Point, layout};
use lifecycle::{Edge, Resource, table};
use std::sync::LazyLock;

/// One arrow of a diagram, with every edge that it stands for: one of a line, all of a stub.
pub(super) struct Arrow {
    /// The status that it begins at: empty where the resource comes into being, none of a stub.
    pub(super) from: Option<&'static str>,
    /// The status that it ends at: empty where the record ends.
    pub(super) to: &'static str,
    pub(super) path: &'static [Point],
    pub(super) label: Label,
    pub(super) edges: Vec<Edge>,
}

/// A diagram with everything that it shows.
pub(super) struct Drawing {
    pub(super) layout: &'static Layout,
    pub(super) statuses: Vec<table::Status>,
    pub(super) arrows: Vec<Arrow>,
    /// Edges of the core that the layout does not know. A test holds that there are none.
    pub(super) left_out: Vec<Edge>,
}

impl Drawing {
    /// The diagram of this kind of resource. Joined once.
    pub(super) fn of(resource: Resource) -> &'static Self {
        static ALL: LazyLock<Vec<Drawing>> = LazyLock::new(|| {
            let edges = table::kept_edges();
            Resource::ALL.iter().map(|resource| Drawing::new(layout(*resource), &edges)).collect()
        });
        &ALL[resource as usize]
    }

    fn new(layout: &'static Layout, edges: &[Edge]) -> Self {
        let mut left: Vec<Edge> = edges.iter().filter(|edge| edge.resource == layout.resource).cloned().collect();
        let mut take = |is_its: &dyn Fn(&Edge) -> bool| -> Vec<Edge> {
            let (its, others) = std::mem::take(&mut left).into_iter().partition(is_its);
            left = others;
            its
        };
        let mut arrows = Vec::new();
        for line in layout.lines {
            let edges = take(&|edge| edge.from == line.from && edge.to == line.to);
            arrows.push(Arrow { from: Some(line.from), to: line.to, path: line.path, label: line.label, edges });
        }
        for stub in layout.stubs {
            let edges = take(&|edge| edge.to == stub.to);
            arrows.push(Arrow { from: None, to: stub.to, path: stub.path, label: stub.label, edges });
        }
        Self { layout, statuses: table::statuses(layout.resource), arrows, left_out: left }
    }
}

impl Label {
    /// What is written: `look: absent, part, smaller`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut looks = false;
        for cause in self.causes {
            let what = cause.strip_prefix("look: ").filter(|_| looks).unwrap_or(cause);
            looks = cause.starts_with("look: ");
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(what);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Anchor, HALF};
    use super::*;
    use std::collections::BTreeSet;

    /// How wide a letter of a label is at most, and how far one reaches above its base line, in hundredths of the grid: what the
    /// picture's font takes, rounded up.
    const LETTER: i32 = 3;
    const ABOVE: i32 = 9;
    const BELOW: i32 = 3;

    /// A rectangle: its lower and its upper corner.
    type Area = (Point, Point);

    fn drawings() -> impl Iterator<Item = &'static Drawing> {
        Resource::ALL.iter().map(|resource| Drawing::of(*resource))
    }

    fn name(arrow: &Arrow) -> String {
        format!("{:?} to {:?}", arrow.from, arrow.to)
    }

    fn around(at: Point) -> Area {
        (Point { x: at.x - HALF.x, y: at.y - HALF.y }, Point { x: at.x + HALF.x, y: at.y + HALF.y })
    }

    fn written(label: &Label) -> Area {
        let width = LETTER * i32::try_from(label.text().chars().count()).unwrap();
        let left = match label.anchor {
            Anchor::Start => label.at.x,
            Anchor::Middle => label.at.x - width / 2,
            Anchor::End => label.at.x - width,
        };
        (Point { x: left, y: label.at.y - ABOVE }, Point { x: left + width, y: label.at.y + BELOW })
    }

    /// The rectangle that a segment along the grid is.
    fn segments(path: &[Point]) -> Vec<Area> {
        let of = |ends: &[Point]| {
            let (a, b) = (ends[0], ends[1]);
            assert!(a.x == b.x || a.y == b.y, "{a:?} to {b:?} is askew");
            assert!(a != b, "{a:?} to itself");
            (Point { x: a.x.min(b.x), y: a.y.min(b.y) }, Point { x: a.x.max(b.x), y: a.y.max(b.y) })
        };
        path.windows(2).map(of).collect()
    }

    /// Whether two rectangles have a point in common; along the grid that is also how segments cross.
    fn touch(a: Area, b: Area) -> bool {
        a.0.x <= b.1.x && b.0.x <= a.1.x && a.0.y <= b.1.y && b.0.y <= a.1.y
    }

    fn is_on_the_edge(at: Point, area: Area) -> bool {
        let is_within = touch((at, at), area);
        is_within && (at.x == area.0.x || at.x == area.1.x || at.y == area.0.y || at.y == area.1.y)
    }

    #[test]
    fn every_edge_of_the_core_is_drawn_and_nothing_else() {
        for drawing in drawings() {
            let resource = drawing.layout.resource;
            assert_eq!(drawing.left_out, Vec::new(), "{resource:?}");
            let mut drawn: Vec<Edge> = drawing.arrows.iter().flat_map(|arrow| arrow.edges.clone()).collect();
            drawn.sort();
            let all: Vec<Edge> = table::kept_edges().into_iter().filter(|edge| edge.resource == resource).collect();
            assert_eq!(drawn, all);
            for arrow in &drawing.arrows {
                assert!(!arrow.edges.is_empty(), "{resource:?}: {} is no edge", name(arrow));
                assert!(arrow.from.is_none() || arrow.edges.len() == 1, "{resource:?}: {} is drawn twice", name(arrow));
            }
        }
    }

    #[test]
    fn a_label_is_of_the_causes_of_each_edge() {
        for drawing in drawings() {
            for arrow in &drawing.arrows {
                for edge in &arrow.edges {
                    let is_cause = |cause: &&&str| edge.causes.iter().any(|known| known == **cause);
                    let (wanted, found) = (arrow.label.causes.len(), arrow.label.causes.iter().filter(is_cause).count());
                    // A stub's label is what its edges are about; a line's is true to the letter.
                    let is_true = found == wanted || arrow.from.is_none() && found > 0;
                    assert!(is_true, "{}: {:?} of {edge:?}", name(arrow), arrow.label.causes);
                }
            }
        }
    }

    #[test]
    fn the_boxes_are_the_statuses_and_stand_apart() {
        for Drawing { layout, statuses, .. } in drawings() {
            let boxes: BTreeSet<_> = layout.boxes.iter().map(|(word, _)| *word).collect();
            assert_eq!(boxes, statuses.iter().map(|status| status.word).collect(), "{:?}", layout.resource);
            assert_eq!(boxes.len(), layout.boxes.len(), "a box stands twice");
            for (index, (word, at)) in layout.boxes.iter().enumerate() {
                assert!(layout.boxes[..index].iter().all(|(_, other)| !touch(around(*at), around(*other))), "{word}");
            }
        }
    }

    #[test]
    fn lines_begin_and_end_at_their_boxes_and_pass_through_none() {
        for Drawing { layout, arrows, .. } in drawings() {
            let at = |word: &str| layout.boxes.iter().find(|(known, _)| *known == word).map(|(_, at)| around(*at));
            for arrow in arrows {
                let (first, last) = (arrow.path[0], arrow.path[arrow.path.len() - 1]);
                let (next, before) = (arrow.path[1], arrow.path[arrow.path.len() - 2]);
                let near = |a: Point, b: Point| (a.x - b.x).abs() + (a.y - b.y).abs() <= 4;
                match arrow.from {
                    Some("") => assert!(near(first, layout.start), "{}", name(arrow)),
                    Some(word) => assert!(is_on_the_edge(first, at(word).unwrap()), "{}", name(arrow)),
                    None => assert!(layout.boxes.iter().all(|(_, box_at)| !touch((first, first), around(*box_at)))),
                }
                match arrow.to {
                    "" => assert!(near(last, layout.end), "{}", name(arrow)),
                    word => assert!(is_on_the_edge(last, at(word).unwrap()), "{}", name(arrow)),
                }
                let segments = segments(arrow.path);
                for (word, box_at) in layout.boxes {
                    for (index, segment) in segments.iter().enumerate() {
                        let begins = index == 0 && arrow.from == Some(*word);
                        let ends = index == segments.len() - 1 && arrow.to == *word;
                        if !begins && !ends {
                            assert!(!touch(*segment, around(*box_at)), "{} passes through {word}", name(arrow));
                        }
                        // Its own box it leaves outward and enters from outside: its middle is not within.
                        let inner = |point: Point| (point.x - box_at.x).abs() < HALF.x && (point.y - box_at.y).abs() < HALF.y;
                        assert!(!inner(first) && !inner(last) && !inner(next) && !inner(before), "{} enters {word}", name(arrow));
                    }
                }
                for end in [layout.start, layout.end] {
                    for (index, segment) in segments.iter().enumerate() {
                        let is_its = index == 0 && near(first, end) || index == segments.len() - 1 && near(last, end);
                        let dot = (Point { x: end.x - 4, y: end.y - 4 }, Point { x: end.x + 4, y: end.y + 4 });
                        assert!(is_its || !touch(*segment, dot), "{} passes through an end", name(arrow));
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_lines_cross_or_touch() {
        for Drawing { arrows, .. } in drawings() {
            for (index, arrow) in arrows.iter().enumerate() {
                let own = segments(arrow.path);
                for (at, segment) in own.iter().enumerate() {
                    let others = own.iter().enumerate().filter(|(other, _)| other.abs_diff(at) > 1);
                    assert!(others.into_iter().all(|(_, other)| !touch(*segment, *other)), "{} crosses itself", name(arrow));
                }
                for other in &arrows[..index] {
                    for segment in &own {
                        let crosses = segments(other.path).into_iter().any(|theirs| touch(*segment, theirs));
                        assert!(!crosses, "{} crosses {}", name(arrow), name(other));
                    }
                }
            }
        }
    }

    #[test]
    fn labels_stand_clear_of_boxes_lines_and_one_another() {
        for Drawing { layout, arrows, .. } in drawings() {
            for (index, arrow) in arrows.iter().enumerate() {
                let area = written(&arrow.label);
                let is_inside = area.0.x >= layout.from.x && area.1.x <= layout.to.x;
                assert!(
                    is_inside && area.0.y >= layout.from.y && area.1.y <= layout.to.y,
                    "the label of {}: {area:?}",
                    name(arrow)
                );
                for (word, at) in layout.boxes {
                    assert!(!touch(area, around(*at)), "the label of {} covers {word}", name(arrow));
                }
                for other in arrows {
                    let crosses = segments(other.path).into_iter().any(|segment| touch(area, segment));
                    assert!(!crosses, "the label of {} {area:?} covers {}", name(arrow), name(other));
                }
                for other in &arrows[..index] {
                    assert!(!touch(area, written(&other.label)), "the labels of {} and {}", name(arrow), name(other));
                }
            }
        }
    }

    #[test]
    fn every_box_is_reached_from_where_it_comes_into_being() {
        for Drawing { layout, arrows, .. } in drawings() {
            let mut reached = BTreeSet::from([""]);
            loop {
                let edges = arrows.iter().flat_map(|arrow| &arrow.edges);
                let more: BTreeSet<_> = edges.filter(|edge| reached.contains(edge.from)).map(|edge| edge.to).collect();
                if more.is_subset(&reached) {
                    break;
                }
                reached.extend(more);
            }
            for (word, _) in layout.boxes {
                assert!(reached.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn the_tests_above_can_fail() {
        let p = |x, y| Point { x, y };
        assert!(touch(segments(&[p(0, 0), p(10, 0)])[0], segments(&[p(5, -5), p(5, 5)])[0]));
        assert!(!touch(segments(&[p(0, 0), p(10, 0)])[0], segments(&[p(5, 1), p(5, 5)])[0]));
        let edge = Edge { resource: Resource::Snapshot, from: "deleted", to: "creating", causes: Vec::new() };
        assert_eq!(Drawing::new(layout(Resource::Snapshot), std::slice::from_ref(&edge)).left_out, [edge]);
    }
}
