//! Pictures of the dashboards, drawn from what a Prometheus has seen: for the documentation.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use plotters::{coord::Shift, prelude::*};
use serde_json::Value;

use crate::prometheus::{Prometheus, Series};

/// What a dashboard is wide, and what a row of its grid of 24 columns is high, in pixels.
const WIDTH: u32 = 1_200;
const ROW: u32 = 34;
const COLUMNS: u64 = 24;
/// Series of a panel that its legend names; more have no room.
const NAMED_MAX: usize = 6;
/// Letters of a series' name.
const NAME_MAX: usize = 34;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws every dashboard in the folder as it would show the time from `begin` to `end`, in seconds since 1970.
pub(super) fn draw(
    prometheus: &Prometheus<'_>,
    dashboards: &[(String, Value)],
    (begin, end): (u64, u64),
    replaced: &dyn Fn(&str) -> String,
    folder: &Path,
) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, dashboard) in dashboards {
        let file = folder.join(format!("{name}.svg"));
        let panels: Vec<&Value> = dashboard["panels"].as_array().into_iter().flatten().collect();
        let rows = panels.iter().map(|panel| place(panel, "y") + place(panel, "h")).max().unwrap_or(1);
        let height = u32::try_from(rows)? * ROW;
        let root = SVGBackend::new(&file, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for panel in panels {
            let scale = |value: u64| u32::try_from(value * u64::from(WIDTH) / COLUMNS);
            let (x, y) = (scale(place(panel, "x"))?, u32::try_from(place(panel, "y"))? * ROW);
            let (width, height) = (scale(place(panel, "w"))?, u32::try_from(place(panel, "h"))? * ROW);
            let area = root.clone().shrink((x, y), (width, height));
            let mut series = Vec::new();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = replaced(target["expr"].as_str().context("a query")?);
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                let found = prometheus.query_range(&expression, begin, end)?;
                series.extend(found.into_iter().map(|one| (legend_of(legend, &one.labels), one)));
            }
            series.sort_by(|(one, _), (other, _)| one.cmp(other));
            let title = panel["title"].as_str().context("a title")?;
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
            match panel["type"].as_str() {
                Some("stat") => number(&area, title, unit, &series)?,
                _ => lines(&area, title, unit, &series, begin)?,
            }
        }
        root.present()?;
    }
    Ok(())
}

fn place(panel: &Value, part: &str) -> u64 {
    panel["gridPos"][part].as_u64().unwrap_or_default()
}

/// The name of a series: the legend with the values of its labels.
fn legend_of(legend: &str, labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let name = labels.fold(legend.to_owned(), |name, (label, value)| {
        name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default())
    });
    match name.char_indices().nth(NAME_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn number(area: &Area<'_>, title: &str, unit: &str, series: &[(String, Series)]) -> Result<()> {
    let last = series.iter().filter_map(|(_, one)| one.points.last()).map(|(_, value)| *value);
    let text = last.reduce(f64::max).map_or_else(|| "–".to_owned(), |value| with_unit(value, unit));
    let (width, height) = area.dim_in_pixel();
    frame(area)?;
    let style = ("sans-serif", 15).into_font().color(&BLACK);
    area.draw_text(title, &style, (12, 10))?;
    let size = i32::try_from(height / 3)?;
    let style = ("sans-serif", size).into_font().color(&BLUE);
    let middle = i32::try_from(width / 2)? - size * i32::try_from(text.chars().count())? / 4;
    area.draw_text(&text, &style, (middle, i32::try_from(height / 2)? - size / 3))?;
    Ok(())
}

fn lines(area: &Area<'_>, title: &str, unit: &str, series: &[(String, Series)], begin: u64) -> Result<()> {
    frame(area)?;
    let points = || series.iter().flat_map(|(_, one)| &one.points);
    let seconds = |at: f64| at - begin as f64;
    let last = points().map(|(at, _)| seconds(*at)).fold(1.0, f64::max);
    let top = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.1 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|at| format!("{at:.0} s"))
        .y_label_formatter(&|value| with_unit(*value, unit))
        .draw()?;
    for (index, (name, one)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let line = one.points.iter().map(|(at, value)| (seconds(*at), *value));
        let drawn = chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        if index < NAMED_MAX && !name.is_empty() {
            drawn
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 14, y)], colour.stroke_width(2)));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 11))
        .background_style(WHITE.mix(0.7))
        .draw()?;
    Ok(())
}

fn frame(area: &Area<'_>) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let corner = (i32::try_from(width)? - 4, i32::try_from(height)? - 4);
    area.draw(&Rectangle::new([(4, 4), corner], RGBColor(200, 200, 200)))?;
    Ok(())
}

/// A value as Grafana writes it, roughly.
fn with_unit(value: f64, unit: &str) -> String {
    const BYTES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    const COUNTS: [&str; 4] = ["", " K", " M", " G"];
    let scaled = |step: f64, words: &[&str]| {
        let mut index = 0;
        let mut scaled = value;
        while scaled.abs() >= step && index + 1 < words.len() {
            scaled /= step;
            index += 1;
        }
        (scaled, index)
    };
    let short = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match unit {
        "bytes" | "Bps" => {
            let (scaled, index) = scaled(1_024.0, &BYTES);
            let per = if unit == "Bps" { "/s" } else { "" };
            format!("{} {}{per}", short(scaled), BYTES[index])
        }
        "percentunit" => format!("{} %", short(value * 100.0)),
        "s" if value != 0.0 && value.abs() < 1.0 => format!("{} ms", short(value * 1_000.0)),
        "s" => format!("{} s", short(value)),
        _ => {
            let (scaled, index) = scaled(1_000.0, &COUNTS);
            let per = if unit == "ops" { "/s" } else { "" };
            format!("{}{}{per}", short(scaled), COUNTS[index])
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_their_units() {
        for (value, unit, text) in [
            (0.0, "s", "0 s"),
            (0.25, "s", "250 ms"),
            (12.5, "s", "12.5 s"),
            (0.0, "short", "0"),
            (1_500.0, "short", "1.5 K"),
            (2_000_000.0, "ops", "2 M/s"),
            (1_536.0, "bytes", "1.5 KiB"),
            (10.0, "Bps", "10 B/s"),
            (0.125, "percentunit", "12.5 %"),
        ] {
            assert_eq!(with_unit(value, unit), text, "{value} {unit}");
        }
    }

    #[test]
    fn a_legend_is_filled_in() {
        let labels = json!({ "group": "billing", "topic": "events" });
        assert_eq!(legend_of("{{group}} in {{topic}}", &labels), "billing in events");
        let long = json!({ "group": "x".repeat(NAME_MAX + 5) });
        assert_eq!(legend_of("{{group}}", &long).chars().count(), NAME_MAX + 1);
    }
}
