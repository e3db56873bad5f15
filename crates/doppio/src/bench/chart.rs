//! A chart as SVG: lines over two axes, which any browser shows.

use std::fmt::Write as _;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Marks of a linear axis, about.
const MARKS: f64 = 6.0;
const COLOURS: [&str; 4] = ["#1f5fa8", "#c2571a", "#2e7d4f", "#7a3f98"];
const STYLE: &str = "text{font:13px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.grid{stroke:#ddd}.axis{stroke:#222}polyline{fill:none;stroke-width:2}";

/// What is along an axis.
#[derive(Debug, Clone)]
pub struct Axis {
    pub label: String,
    /// By powers of ten; values of 0 and below are left out.
    pub is_logarithmic: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// Values of an axis and where they are drawn.
struct Scale {
    is_logarithmic: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable: Vec<f64> = values
            .filter(|value| value.is_finite() && (!axis.is_logarithmic || *value > 0.0))
            .collect();
        let most = usable.iter().copied().fold(f64::MIN, f64::max);
        let least = usable.iter().copied().fold(f64::MAX, f64::min);
        let (low, high, marks) = if usable.is_empty() {
            (0.0, 1.0, vec![0.0, 1.0])
        } else if axis.is_logarithmic {
            let (low, high) = (least.log10().floor(), most.log10().ceil());
            let high = if high > low { high } else { low + 1.0 };
            (low, high, steps(low, high, 1.0))
        } else {
            let step = round_step(most / MARKS);
            let high = (most / step).ceil().max(1.0) * step;
            (0.0, high, steps(0.0, high, step))
        };
        Self {
            is_logarithmic: axis.is_logarithmic,
            low,
            high,
            from,
            to,
            marks,
        }
    }

    /// Where a position on the scale is drawn.
    fn at(&self, position: f64) -> f64 {
        self.from + (position - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn place(&self, value: f64) -> Option<f64> {
        let position = if self.is_logarithmic {
            value.log10()
        } else {
            value
        };
        position.is_finite().then(|| self.at(position))
    }

    fn mark(&self, position: f64) -> String {
        let value = if self.is_logarithmic {
            10_f64.powf(position)
        } else {
            position
        };
        if value >= 1_000.0 {
            format!("{}k", shortest(value / 1_000.0))
        } else {
            shortest(value)
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least as large.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

fn steps(low: f64, high: f64, step: f64) -> Vec<f64> {
    let mut marks = Vec::new();
    let mut mark = low;
    while mark <= high + step / 2.0 && marks.len() < 64 {
        marks.push(mark);
        mark += step;
    }
    marks
}

fn shortest(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Chart {
    #[must_use]
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Scale::new(&self.x, points().map(|point| point.x), LEFT, WIDTH - RIGHT);
        let y = Scale::new(&self.y, points().map(|point| point.y), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n<style>{STYLE}</style>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text class=\"title\" x=\"{LEFT}\" y=\"28\">{}</text>\n",
            escaped(&self.title)
        );
        // Writing into a string does not fail.
        let _ = self.draw(&mut svg, &x, &y);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) -> std::fmt::Result {
        for mark in &x.marks {
            let at = x.at(*mark);
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y.from,
                y.to,
                y.from + 20.0,
                x.mark(*mark)
            )?;
        }
        for mark in &y.marks {
            let at = y.at(*mark);
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{:.1}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x.from,
                x.to,
                x.from - 8.0,
                at + 4.0,
                y.mark(*mark)
            )?;
        }
        writeln!(
            svg,
            "<path class=\"axis\" fill=\"none\" d=\"M{:.1} {:.1}V{:.1}H{:.1}\"/>",
            x.from, y.to, y.from, x.to
        )?;
        let middle = f64::midpoint(x.from, x.to);
        writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 14.0,
            escaped(&self.x.label)
        )?;
        let middle = f64::midpoint(y.from, y.to);
        writeln!(
            svg,
            "<text transform=\"translate(20 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&self.y.label)
        )?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            draw_line(svg, line, colour, x, y)?;
        }
        Ok(())
    }
}

fn draw_line(
    svg: &mut String,
    line: &Line,
    colour: &str,
    x: &Scale,
    y: &Scale,
) -> std::fmt::Result {
    let drawn: Vec<(f64, f64)> = line
        .points
        .iter()
        .filter_map(|point| x.place(point.x).zip(y.place(point.y)))
        .collect();
    let path: Vec<String> = drawn
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    writeln!(
        svg,
        "<polyline stroke=\"{colour}\" points=\"{}\"/>",
        path.join(" ")
    )?;
    for (x, y) in &drawn {
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        )?;
    }
    if let Some((_, at)) = drawn.last() {
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>",
            x.to + 10.0,
            at + 4.0,
            escaped(&line.name)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> String {
        let axis = |label: &str, is_logarithmic| Axis {
            label: label.to_owned(),
            is_logarithmic,
        };
        Chart {
            title: "orders & latency".to_owned(),
            x: axis("orders/s", false),
            y: axis("ms", true),
            lines: vec![Line {
                name: "p99".to_owned(),
                points: points.iter().map(|&(x, y)| Point { x, y }).collect(),
            }],
        }
        .to_svg()
    }

    #[test]
    fn points_stand_where_their_values_are() {
        let svg = chart(&[(0.0, 1.0), (6_000.0, 100.0)]);
        // The corners of the area: 0 and 6,000 orders/s, 1 and 100 ms.
        assert!(svg.contains("points=\"80.0,420.0 730.0,50.0\""), "{svg}");
        assert!(svg.contains("orders &amp; latency") && svg.contains(">6k<"));
    }

    #[test]
    fn nothing_and_zero_are_drawn_without_a_number_that_is_none() {
        for svg in [chart(&[]), chart(&[(0.0, 0.0)]), chart(&[(f64::NAN, 1.0)])] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
