//! The diagram as a picture: SVG, with its own style for light and dark, and titles for those who do not see it.
//!
//! Everything that is written into it is escaped. It holds no script, and asks for nothing from elsewhere.

use super::document::is_command;
use super::drawing::{Arrow, Drawing};
use super::layout::{Anchor, HALF, Point};
use crate::markup::escaped;
use lifecycle::Edge;
use std::fmt::Write as _;

/// How many pixels a hundredth of the grid has.
pub(super) const UNIT_X: f64 = 2.2;
pub(super) const UNIT_Y: f64 = 1.1;
/// The radius of a line's corners.
const CORNER: f64 = 8.0;
/// How long and how wide an arrow's head is.
const HEAD: (f64, f64) = (8.0, 3.6);
/// The height of a line of the legend.
const ROW: f64 = 19.0;
/// How wide a letter of the legend is, about.
const LETTER: f64 = 6.3;

const STYLE: &str = include_str!("style.css");

/// The picture. A status that is named is lit, with the arrows that leave it.
pub(super) fn svg(drawing: &Drawing, lit: Option<&str>) -> String {
    let layout = drawing.layout;
    let (left, top) = (layout.from.x, layout.from.y);
    let at = |point: Point| (f64::from(point.x - left) * UNIT_X, f64::from(point.y - top) * UNIT_Y);
    let (width, height) = at(layout.to);
    let legend = legend(drawing, width);
    let whole = height + legend.1;
    let word = layout.resource.word();
    let article = if word.starts_with('a') { "an" } else { "a" };
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {whole:.0}\" width=\"{width:.0}\" height=\"{whole:.0}\" \
         role=\"img\" aria-labelledby=\"title desc\"{}>\n<title id=\"title\">The statuses of {article} {word}</title>\n\
         <desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        if lit.is_some() { " class=\"dim\"" } else { "" },
        escaped(&described(drawing, lit)),
    );
    for arrow in &drawing.arrows {
        draw_arrow(&mut page, arrow, lit, &at);
    }
    for (end, is_end) in [(layout.start, false), (layout.end, true)] {
        let (x, y) = at(end);
        let ring = format!("<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6.5\"/>");
        let radius = if is_end { 3.5 } else { 5.5 };
        let _ =
            writeln!(page, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>{}", if is_end { &ring } else { "" });
    }
    for (word, centre) in layout.boxes {
        let Some(status) = drawing.statuses.iter().find(|status| status.word == *word) else { continue };
        let (x, y) = at(*centre);
        let (half_x, half_y) = (f64::from(HALF.x) * UNIT_X, f64::from(HALF.y) * UNIT_Y);
        let is_lit = if lit == Some(word) { " lit" } else { "" };
        let _ = writeln!(
            page,
            "<g class=\"box {}{is_lit}\"><title>{}: {}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"9\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\">{}</text></g>",
            status.class.word(),
            escaped(word),
            escaped(&status.promise.replace('`', "")),
            x - half_x,
            y - half_y,
            2.0 * half_x,
            2.0 * half_y,
            y + 5.0,
            escaped(word),
        );
    }
    for (index, line) in legend.0.iter().enumerate() {
        let y = height + ROW * (index as f64 + 1.2);
        let _ = writeln!(page, "<text class=\"legend\" x=\"12\" y=\"{y:.1}\">{line}</text>");
    }
    page.push_str("</svg>\n");
    page
}

fn draw_arrow(page: &mut String, arrow: &Arrow, lit: Option<&str>, at: &impl Fn(Point) -> (f64, f64)) {
    let asked = arrow.label.causes.iter().any(|cause| is_command(cause));
    let is_next = lit.is_some_and(|word| arrow.edges.iter().any(|edge| edge.from == word));
    let mut class = String::from("arrow");
    for (is_so, word) in [(asked, " asked"), (arrow.from.is_none(), " stub"), (is_next, " next")] {
        class.push_str(if is_so { word } else { "" });
    }
    let points: Vec<_> = arrow.path.iter().map(|point| at(*point)).collect();
    let anchor = match arrow.label.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = at(arrow.label.at);
    let _ = writeln!(
        page,
        "<g class=\"{class}\"><title>{}</title><path class=\"line\" d=\"{}\"/><path class=\"head\" d=\"{}\"/>\
         <text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text></g>",
        escaped(&arrow.edges.iter().map(told).collect::<Vec<_>>().join("\n")),
        rounded(&points),
        head(&points),
        escaped(&arrow.label.text()),
    );
}

/// `available to attaching: attach, retry`.
fn told(edge: &Edge) -> String {
    let from = if edge.from.is_empty() { "nothing" } else { edge.from };
    let to = if edge.to.is_empty() { "gone" } else { edge.to };
    format!("{from} to {to}: {}", edge.causes.join("; "))
}

/// A path with rounded corners, which ends where the head begins.
fn rounded(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let Some((first, rest)) = points.split_first() else { return path };
    let _ = write!(path, "M{:.1} {:.1}", first.0, first.1);
    let mut before = *first;
    for (index, corner) in rest.iter().enumerate() {
        let Some(after) = rest.get(index + 1) else {
            let (x, y) = towards(*corner, before, HEAD.0 - 1.0);
            let _ = write!(path, "L{x:.1} {y:.1}");
            break;
        };
        let radius = CORNER.min(length(before, *corner) / 2.0).min(length(*corner, *after) / 2.0);
        let ((x, y), (end_x, end_y)) = (towards(*corner, before, radius), towards(*corner, *after, radius));
        let _ = write!(path, "L{x:.1} {y:.1}Q{:.1} {:.1} {end_x:.1} {end_y:.1}", corner.0, corner.1);
        before = *corner;
    }
    path
}

/// The triangle at the end of a path.
fn head(points: &[(f64, f64)]) -> String {
    let [.., before, tip] = points else { return String::new() };
    let (base_x, base_y) = towards(*tip, *before, HEAD.0);
    let (along_x, along_y) = ((tip.0 - base_x) / HEAD.0, (tip.1 - base_y) / HEAD.0);
    let (side_x, side_y) = (along_y * HEAD.1, along_x * HEAD.1);
    format!(
        "M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z",
        tip.0,
        tip.1,
        base_x - side_x,
        base_y + side_y,
        base_x + side_x,
        base_y - side_y
    )
}

fn length(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// The point that is so far from one towards another.
fn towards(from: (f64, f64), to: (f64, f64), distance: f64) -> (f64, f64) {
    let share = distance / length(from, to).max(f64::EPSILON);
    (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
}

/// What the colours mean, and what each stub stands for; and how high that is.
fn legend(drawing: &Drawing, width: f64) -> (Vec<String>, f64) {
    let most = ((width - 24.0) / LETTER) as usize;
    let mut lines = vec!["Blue: what a user asks for. Grey: what an answer, a deadline or a look brings.".to_owned()];
    if drawing.arrows.iter().any(|arrow| arrow.from.is_none()) {
        lines[0].push_str(" Dashed: the same change from every status named here:");
    }
    for arrow in drawing.arrows.iter().filter(|arrow| arrow.from.is_none()) {
        let to = if arrow.to.is_empty() { "the end" } else { arrow.to };
        let from: Vec<_> = arrow.edges.iter().map(|edge| edge.from).collect();
        let head = format!("{} → {to}", arrow.label.text());
        let room = most.saturating_sub(head.chars().count() + " from ".len());
        for (index, part) in wrapped(&from, room).into_iter().enumerate() {
            lines.push(match index {
                0 => format!("<tspan class=\"strong\">{}</tspan> from {}", escaped(&head), escaped(&part)),
                _ => escaped(&part),
            });
        }
    }
    let height = ROW * (lines.len() as f64 + 1.2);
    (lines, height)
}

/// Words in lines of at most so many letters.
fn wrapped(words: &[&str], most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (index, word) in words.iter().enumerate() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() + 2 > most {
            lines.push(String::new());
        }
        let last = lines.len() - 1;
        let _ = write!(lines[last], "{word}{}", if index + 1 < words.len() { ", " } else { "" });
    }
    lines
}

/// The picture in words: every status with where it leads.
fn described(drawing: &Drawing, lit: Option<&str>) -> String {
    let mut text = lit.map(|word| format!("Now: {word}. ")).unwrap_or_default();
    for status in &drawing.statuses {
        let edges = drawing.arrows.iter().flat_map(|arrow| &arrow.edges).filter(|edge| edge.from == status.word);
        let to: Vec<_> = edges.map(|edge| if edge.to.is_empty() { "its end" } else { edge.to }).collect();
        let _ = write!(text, "{} ({}) leads to {}. ", status.word, status.class.word(), to.join(", "));
    }
    text.trim_end().to_owned()
}
