//! The Pareto picture: violation seconds against replica-hours, one point per scaler. Who has another one below and to
//! the left of it is beaten by it.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::contenders::{CONTROLLER, Family};
use crate::figures::Results;

const SIZE: (u32, u32) = (1_000, 640);
/// Room around the outermost points, as a share of what they span.
const ROOM: f64 = 0.08;

/// Letters' height, and half a dot's, in pixels.
const LETTER: i32 = 11;
const DOT: i32 = 5;

/// A place in the picture, in pixels from its upper left corner.
type Pixel = (i32, i32);
/// The upper left and the lower right corner of something.
type Corners = (Pixel, Pixel);

/// A scaler's place in the picture.
struct Place {
    name: String,
    family: Family,
    hours: f64,
    seconds: f64,
}

/// Draws the picture into `file`.
pub fn draw(results: &Results, file: &Path) -> Result<()> {
    let places: Vec<Place> = results
        .scalers
        .iter()
        .map(|name| {
            let sums = results.sums(name);
            // The axis is logarithmic, so that 300 and 30,000 both have room; 0 stands at 1.
            let seconds = sums.violation_seconds.max(1.0);
            Place { name: name.clone(), family: Family::of(name), hours: sums.replica_hours, seconds }
        })
        .collect();
    let least_hours = places.iter().map(|place| place.hours).fold(f64::INFINITY, f64::min);
    let most_hours = places.iter().map(|place| place.hours).fold(0.0, f64::max).max(least_hours + 1.0);
    let room = (most_hours - least_hours) * ROOM;
    let least = places.iter().map(|place| place.seconds).fold(f64::INFINITY, f64::min) / 1.5;
    let most = places.iter().map(|place| place.seconds).fold(1.0, f64::max) * 1.6;

    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Violations against replica-hours (lower and further left is better)", ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(least_hours - room..most_hours + 2.5 * room, (least..most).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("replica-hours per seed")
        .y_desc("seconds above the target per seed, logarithmic")
        .x_label_formatter(&|hours| format!("{hours:.0}"))
        .y_label_formatter(&|seconds| format!("{seconds:.0}"))
        .draw()?;
    let front = front(&places);
    chart.draw_series(LineSeries::new(front, BLACK.mix(0.35).stroke_width(1)))?;
    let dots: Vec<Pixel> =
        places.iter().map(|place| chart.backend_coord(&(place.hours, place.seconds))).collect();
    let mut taken: Vec<Corners> =
        dots.iter().map(|(x, y)| ((x - DOT, y - DOT), (x + DOT, y + DOT))).collect();
    for (place, dot) in places.iter().zip(dots) {
        let colour = colour(place);
        let radius = if place.name == CONTROLLER { DOT + 1 } else { DOT - 1 };
        let (dx, dy) = beside(dot, &place.name, &mut taken);
        let label =
            Text::new(place.name.clone(), (dx, dy), ("sans-serif", LETTER).into_font().color(&colour));
        let circle = Circle::new((0, 0), radius, colour.filled());
        chart
            .draw_series(std::iter::once(EmptyElement::at((place.hours, place.seconds)) + circle + label))?;
    }
    root.present()?;
    Ok(())
}

/// Where a dot's name has room: as far from the dot, in pixels. What it takes is taken.
fn beside((x, y): Pixel, name: &str, taken: &mut Vec<Corners>) -> Pixel {
    // Letters are about half as wide as high.
    let width = i32::try_from(name.chars().count()).unwrap_or(i32::MAX / 2) * LETTER / 2;
    let right = (DOT + 3, -LETTER / 2);
    let places = [0, -1, 1, -2, 2, -3, 3].into_iter().flat_map(|line| {
        let down = line * (LETTER + 1) - LETTER / 2;
        [(DOT + 3, down), (-DOT - 3 - width, down)]
    });
    let corners = |(dx, dy): Pixel| ((x + dx, y + dy), (x + dx + width, y + dy + LETTER));
    let is_free = |place: &Pixel| {
        let ((left, top), (end, bottom)) = corners(*place);
        taken
            .iter()
            .all(|((x, y), (until_x, until_y))| left > *until_x || end < *x || top > *until_y || bottom < *y)
    };
    let place = places.into_iter().find(is_free).unwrap_or(right);
    taken.push(corners(place));
    place
}

/// The scalers that no other one beats in both, from few hours to many.
fn front(places: &[Place]) -> Vec<(f64, f64)> {
    let beaten = |place: &Place| {
        places.iter().any(|other| {
            let no_worse = other.hours <= place.hours && other.seconds <= place.seconds;
            no_worse && (other.hours < place.hours || other.seconds < place.seconds)
        })
    };
    let mut front: Vec<(f64, f64)> =
        places.iter().filter(|place| !beaten(place)).map(|place| (place.hours, place.seconds)).collect();
    front.sort_by(|one, other| one.0.total_cmp(&other.0));
    front
}

fn colour(place: &Place) -> RGBColor {
    match place.family {
        Family::Controller => RGBColor(200, 30, 30),
        Family::Keda => RGBColor(40, 90, 200),
        Family::KedaEvenly => RGBColor(20, 140, 160),
        Family::Fixed => RGBColor(110, 110, 110),
        Family::Other => RGBColor(150, 90, 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_room_for_each_other() {
        let dots = [(100, 100), (102, 101), (104, 99), (300, 100)];
        let mut taken = dots.map(|(x, y)| ((x - DOT, y - DOT), (x + DOT, y + DOT))).to_vec();
        for dot in dots {
            beside(dot, "KEDA lag 100, evenly", &mut taken);
        }
        let names = &taken[dots.len()..];
        for (index, (one, end)) in names.iter().enumerate() {
            for (other, until) in &names[index + 1..] {
                let apart = one.0 > until.0 || end.0 < other.0 || one.1 > until.1 || end.1 < other.1;
                assert!(apart, "{names:?}");
            }
        }
    }
}
