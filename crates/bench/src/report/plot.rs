//! The ratios as a picture: a bar for each line of the table, a mark for its goal, dots for the other rivals.

use std::fmt::Write as _;

use super::page::Line;
use crate::server::Kind;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 400.0;
const ROW: f64 = 26.0;
const TOP: f64 = 56.0;
/// The right end of the scale; what lies beyond is drawn at the end.
const MOST: f64 = 2.5;

/// One ratio with its name: how the plot knows a line.
struct Bar {
    label: String,
    ratio: f64,
    goal: Option<f64>,
    others: Vec<(Kind, f64)>,
}

/// The picture, as SVG. `own` are ratios to ourselves or to the plain interpreter, with their names and goals.
pub(crate) fn svg(lines: &[Line], own: &[(String, f64, f64)]) -> String {
    let measured = lines.iter().filter_map(|line| {
        let ratio = line.ratio?.median;
        Some(Bar { label: line.what.clone(), ratio, goal: line.goal, others: line.others.clone() })
    });
    let own = own.iter().map(|(label, ratio, goal)| Bar {
        label: label.clone(),
        ratio: *ratio,
        goal: Some(*goal),
        others: Vec::new(),
    });
    let bars: Vec<Bar> = measured.chain(own).collect();
    let height = TOP + ROW * bars.len() as f64 + 40.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">Moonwire beside Bun in the same rounds: less is better</text>\n\
         <text x=\"12\" y=\"42\" fill=\"#666\">bar: Moonwire; red line: the goal; circle: ws; square: the floor of the machine; \
         beyond {MOST}: at the edge</text>\n"
    );
    scale(&mut text, height);
    for (row, bar) in bars.iter().enumerate() {
        draw(&mut text, bar, TOP + ROW * row as f64);
    }
    text.push_str("</svg>\n");
    text
}

fn at(ratio: f64) -> f64 {
    LABELS + (WIDTH - LABELS - 60.0) * ratio.clamp(0.0, MOST) / MOST
}

// Writing to a String cannot fail.
fn scale(text: &mut String, height: f64) {
    for half in 0..=(MOST * 2.0) as u32 {
        let ratio = f64::from(half) / 2.0;
        let (x, bottom) = (at(ratio), height - 30.0);
        let (color, width) = if half == 2 { ("#333", 1.5) } else { ("#ddd", 1.0) };
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{color}\" stroke-width=\"{width}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{ratio}</text>",
            bottom + 16.0
        );
    }
}

fn draw(text: &mut String, bar: &Bar, top: f64) {
    let Bar { label, ratio, goal, others } = bar;
    let (zero, end, base) = (at(0.0), at(*ratio), top + 17.0);
    let color = if goal.is_some_and(|goal| *ratio > goal) { "#e8a33d" } else { "#4a9d6f" };
    let label = label.replace('`', "").replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\
         <rect x=\"{zero:.1}\" y=\"{}\" width=\"{:.1}\" height=\"16\" fill=\"{color}\"/>\
         <text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{ratio:.2}</text>",
        LABELS - 8.0,
        top + 5.0,
        end - zero,
        WIDTH - 12.0,
    );
    if let Some(goal) = goal {
        let x = at(*goal);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#c00\" stroke-width=\"2\"/>",
            top + 3.0,
            top + 23.0
        );
    }
    for (kind, ratio) in others {
        let (x, y) = (at(*ratio), top + 13.0);
        let _ = match kind {
            Kind::Floor => writeln!(
                text,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\" fill=\"#fff\" stroke=\"#333\"/>",
                x - 3.5,
                y - 3.5
            ),
            _ => writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#fff\" stroke=\"#333\"/>"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::lines;
    use crate::report::tests::outcome;

    #[test]
    fn each_line_has_its_bar_and_what_is_beyond_the_scale_stays_inside() {
        let outcomes = [
            outcome(Kind::Bun, &[1.0]),
            outcome(Kind::Moonwire, &[1.5]),
            outcome(Kind::Ws, &[20.0]),
            outcome(Kind::Floor, &[0.5]),
        ];
        let own = [("a < b".to_owned(), 1.04, 1.05)];
        let text = svg(&lines(&outcomes), &own);
        assert!(text.contains(">1.50</text>") && text.contains(">1.04</text>") && text.contains("a &lt; b"), "{text}");
        assert!(text.contains(&format!("cx=\"{:.1}\"", at(MOST))), "{text}");
        assert_eq!(text.matches("<circle").count(), 1);
        assert!(text.trim_end().ends_with("</svg>"));
    }
}
