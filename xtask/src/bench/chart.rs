//! The chart of how cost grows: four small panels, resources from a thousand to millions on a logarithmic scale, costs from zero.

use anyhow::{Context, Result};
use std::fmt::Write as _;

/// Where it is kept.
const FILE: &str = "docs/images/scale.svg";
/// A panel's width and height, and the margins within it for its words.
const SIZE: (f64, f64) = (340.0, 190.0);
const MARGIN: (f64, f64, f64, f64) = (34.0, 16.0, 28.0, 56.0);

/// One cost.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// How many resources there are, and what it costs then.
    pub(super) points: Vec<(u64, f64)>,
}

/// Draws it into the documents.
pub(super) fn draw(panels: &[Panel; 4]) -> Result<()> {
    std::fs::write(FILE, svg(panels)).with_context(|| format!("cannot write {FILE}"))?;
    println!("\nthe chart is in {FILE}");
    Ok(())
}

fn svg(panels: &[Panel; 4]) -> String {
    let (width, height) = (SIZE.0 * 2.0, SIZE.1 * 2.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>How cost grows from a thousand to millions of resources</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let (column, row) = if at % 2 == 0 { (0.0, at / 2) } else { (SIZE.0, at / 2) };
        let top = if row == 0 { 0.0 } else { SIZE.1 };
        panel.draw(&mut out, column, top);
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn draw(&self, out: &mut String, left: f64, top: f64) {
        let (above, right, below, before) = MARGIN;
        let (x0, x1) = (left + before, left + SIZE.0 - right);
        let (y0, y1) = (top + SIZE.1 - below, top + above);
        let logarithm = |many: u64| f64::from(u32::try_from(many).unwrap_or(u32::MAX)).log10();
        let (first, last) = (self.points.first().map_or(0, |point| point.0), self.points.last().map_or(1, |point| point.0));
        let span = (logarithm(last) - logarithm(first)).max(1e-9);
        let most = nice(self.points.iter().map(|point| point.1).fold(0.0, f64::max));
        let x = |many: u64| x0 + (logarithm(many) - logarithm(first)) / span * (x1 - x0);
        let y = |cost: f64| y0 - cost / most * (y0 - y1);
        let _ =
            writeln!(out, "<text x=\"{x0:.0}\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#222\">{}</text>", top + 20.0, self.title);
        for part in [0.0, 0.5, 1.0] {
            let (at, cost) = (y(most * part), figure(most * part));
            let _ = writeln!(out, "<path d=\"M{x0:.0} {at:.1}H{x1:.0}\" stroke=\"#ddd\"/>");
            let _ =
                writeln!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{cost}</text>", x0 - 6.0, at + 4.0);
        }
        for (many, _) in &self.points {
            let at = x(*many);
            let _ = writeln!(
                out,
                "<text x=\"{at:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                y0 + 16.0,
                short(*many)
            );
        }
        let line: Vec<_> = self.points.iter().map(|(many, cost)| format!("{:.1},{:.1}", x(*many), y(*cost))).collect();
        let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#0b6e69\" stroke-width=\"2\"/>", line.join(" "));
        for (many, cost) in &self.points {
            let _ = writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#0b6e69\"/>", x(*many), y(*cost));
        }
    }
}

/// The next of 1, 2, 5, 10, 20, … that is not less.
fn nice(cost: f64) -> f64 {
    let power = 10_f64.powf(cost.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|nice| *nice >= cost).unwrap_or(cost)
}

fn figure(cost: f64) -> String {
    if cost == 0.0 || cost >= 10.0 { format!("{cost:.0}") } else { format!("{cost:.1}") }
}

/// `3k`, `3M`.
fn short(many: u64) -> String {
    match many {
        1_000_000.. => format!("{}M", many / 1_000_000),
        1_000.. => format!("{}k", many / 1_000),
        _ => many.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_holds_all_its_points_within_itself() {
        let panel = || Panel { title: "t", points: vec![(3_000, 0.4), (3_000_000, 7.3)] };
        let drawn = svg(&[panel(), panel(), panel(), panel()]);
        assert_eq!(drawn.matches("<circle").count(), 8);
        for part in drawn.split("<circle cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            let y: f64 = part.split("cy=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            assert!((0.0..SIZE.0 * 2.0).contains(&x) && (0.0..SIZE.1 * 2.0).contains(&y), "{x} {y}");
        }
        assert!(drawn.contains(">3k<") && drawn.contains(">3M<") && drawn.contains(">10<"));
    }
}
