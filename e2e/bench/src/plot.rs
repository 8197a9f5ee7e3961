//! SVG plots of how a cost grows with the number of certificates. Both axes are logarithmic, so a proportional cost is a straight line.
//!
//! Knows points and pixels; must not know what they mean. Next: `page.rs`.

use std::fmt::Write;

#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    /// The label of the horizontal axis.
    pub(crate) x_label: String,
    /// The label of the vertical axis, with the unit.
    pub(crate) y_label: String,
    /// The lines: a name, and points from left to right.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;

/// Colors that people with color blindness can distinguish, by Okabe and Ito.
const COLORS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// An axis, from one power of ten to another.
#[derive(Clone, Copy, Debug)]
struct Axis {
    lowest: i32,
    highest: i32,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            lowest = lowest.min(value.log10().floor());
            highest = highest.max(value.log10().ceil());
        }
        if lowest > highest {
            return Self { lowest: 0, highest: 1 };
        }
        #[expect(clippy::cast_possible_truncation, reason = "a power of ten of a double is below 400")]
        let (lowest, highest) = (lowest as i32, highest as i32);
        Self { lowest, highest: highest.max(lowest + 1) }
    }

    /// The position of a value on the axis, from 0 to 1.
    fn position(self, value: f64) -> f64 {
        (value.log10() - f64::from(self.lowest)) / f64::from(self.highest - self.lowest)
    }
}

impl Plot {
    /// The content of the SVG file.
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let (x_axis, y_axis) =
            (Axis::around(points().map(|point| point.0)), Axis::around(points().map(|point| point.1)));
        let x = |value: f64| LEFT + x_axis.position(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - y_axis.position(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<title>{title}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n",
            title = escaped(&self.title)
        );
        for power in x_axis.lowest..=x_axis.highest {
            let at = x(10_f64.powi(power));
            _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0,
                10_f64.powi(power)
            );
        }
        for power in y_axis.lowest..=y_axis.highest {
            let at = y(10_f64.powi(power));
            _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                10_f64.powi(power)
            );
        }
        for ((name, points), color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let places: Vec<_> = points.iter().map(|(at_x, at_y)| (x(*at_x), y(*at_y))).collect();
            let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, y) in &places {
                _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
            }
            if let Some((x, y)) = places.last() {
                _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{}</text>",
                    x + 8.0,
                    y + 4.0,
                    escaped(name)
                );
            }
        }
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n</svg>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 12.0,
            escaped(&self.x_label),
            f64::midpoint(TOP, HEIGHT - BOTTOM),
            escaped(&self.y_label)
        );
        svg
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cost that is proportional to the number goes from the lower left corner to the upper right one.
    #[test]
    fn proportional_cost_is_a_diagonal_line() {
        let plot = Plot {
            title: "a & b".to_owned(),
            x_label: "certificates".to_owned(),
            y_label: "s".to_owned(),
            lines: vec![("ours".to_owned(), vec![(10.0, 1.0), (100.0, 10.0)])],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &amp; b"));

        assert!(svg.contains("points=\"72.0,308.0 490.0,40.0\""), "{svg}");
    }

    #[test]
    fn plot_without_lines_is_valid() {
        let plot =
            Plot { title: String::new(), x_label: String::new(), y_label: String::new(), lines: Vec::new() };
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}
