//! The figures of the comparison as a chart: a group of bars a case, the lower the better.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::error::BenchError;
use super::report::Report;

/// Pixels.
const SIZE: (u32, u32) = (960, 540);
/// Of a case's width on the axis, what its bars take.
const FILLED: f64 = 0.8;

const ORIGINAL: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);
const IDEAL: RGBColor = RGBColor(0xd9, 0xc3, 0x8a);
const MEASURED: [RGBColor; 2] = [RGBColor(0x1f, 0x6f, 0xb4), RGBColor(0x2e, 0x9e, 0x6b)];

/// One colour of bars.
struct Series {
    name: String,
    colour: RGBColor,
    /// One a case.
    seconds: Vec<Option<f64>>,
}

fn series(report: &Report) -> Vec<Series> {
    let original = Series {
        name: "Python original".into(),
        colour: ORIGINAL,
        seconds: report.cases.iter().map(|case| report.original(*case)).collect(),
    };
    let ideal = Series {
        name: "ideal".into(),
        colour: IDEAL,
        seconds: report
            .cases
            .iter()
            .map(|case| Some(case.ideal(report.delays).as_secs_f64()))
            .collect(),
    };
    let measured =
        report.columns.iter().zip(MEASURED.iter().cycle()).map(|(column, colour)| Series {
            name: format!("rowmill on {}", column.database),
            colour: *colour,
            seconds: column.seconds.iter().copied().map(Some).collect(),
        });
    [original, ideal].into_iter().chain(measured).collect()
}

/// Writes the chart to `path`, as SVG.
pub(super) fn draw(report: &Report, path: &Path) -> Result<(), BenchError> {
    let mut svg = String::new();
    plot(report, &mut svg).map_err(|error| BenchError::Chart(error.to_string()))?;
    std::fs::write(path, svg)
        .map_err(|source| BenchError::Io { what: "the chart cannot be written", source })
}

fn plot(report: &Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let series = series(report);
    let highest =
        series.iter().flat_map(|one| &one.seconds).flatten().fold(0.0, |a: f64, b| a.max(*b));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let cases = report.cases.len();
    let mut chart = ChartBuilder::on(&root)
        .caption("rows one by one and together, seconds", ("sans-serif", 26))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..cases as f64, 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(8)
        .label_style(("sans-serif", 15))
        .y_label_formatter(&|seconds| format!("{seconds:.0} s"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let width = FILLED / series.len() as f64;
    let label = ("sans-serif", 15).into_font().color(&BLACK);
    let above = label.pos(Pos::new(HPos::Center, VPos::Bottom));
    for (at, one) in series.iter().enumerate() {
        let left = |case: usize| case as f64 + (1.0 - FILLED) / 2.0 + at as f64 * width;
        let bars = one
            .seconds
            .iter()
            .enumerate()
            .filter_map(|(case, seconds)| seconds.map(|seconds| (left(case), seconds)));
        let fill = one.colour.filled();
        chart
            .draw_series(
                bars.clone().map(|(x, seconds)| {
                    Rectangle::new([(x, 0.0), (x + width * 0.92, seconds)], fill)
                }),
            )?
            .label(one.name.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], fill));
        chart.draw_series(bars.map(|(x, seconds)| {
            let at = (x + width * 0.46, seconds + highest * 0.008);
            Text::new(format!("{seconds:.2}"), at, above.clone())
        }))?;
    }
    let below = label.pos(Pos::new(HPos::Center, VPos::Top));
    chart.draw_series(report.cases.iter().enumerate().map(|(case, what)| {
        Text::new(what.what(), (case as f64 + 0.5, -highest * 0.02), below.clone())
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .label_font(("sans-serif", 17))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cases::{Case, Delays};
    use super::super::report::Column;
    use super::*;

    #[test]
    fn the_chart_says_every_figure() {
        let delays = Delays { create: Duration::from_secs(3), consume: Duration::from_secs(5) };
        let mut report = Report::new(delays, vec![Case::OneByOne(21), Case::Batch(50)]);
        report.columns.push(Column { database: "SQLite", seconds: vec![63.11, 5.02] });
        let mut svg = String::new();
        plot(&report, &mut svg).unwrap();
        for text in ["65.23", "63.11", "5.02", "50 messages, one batch", "rowmill on SQLite"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }
}
