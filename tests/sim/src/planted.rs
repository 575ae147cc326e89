//! The record of planted faults, `docs/planted-faults.md`: where each fault is planted and which seed finds it.

#[cfg(feature = "planted")]
mod search;

use pondage_model::planted::Fault;

#[cfg(feature = "planted")]
pub(crate) use self::search::{Command, perform};

/// The page, from the root of the repository.
pub(crate) const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/planted-faults.md");

/// A cell that says that there is nothing to say.
const NONE: &str = "–";

/// What the page says of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) meaning: String,
    pub(crate) source: String,
    /// The file that asks whether it is planted; `None` until the code that it would break exists.
    pub(crate) place: Option<String>,
    /// The first seed that finds it, counted from 0; `None` if none was found yet.
    pub(crate) seed: Option<u64>,
}

impl Row {
    /// Reads a line of the page; `None` of lines that are no row of the table.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [name, meaning, source, place, seed] = cells[..] else { return None };
        Some(Self {
            fault: Fault::from_name(name.strip_suffix('`')?)?,
            meaning: meaning.to_owned(),
            source: source.to_owned(),
            place: (place != NONE).then(|| place.trim_matches('`').to_owned()),
            seed: seed.parse().ok(),
        })
    }

    /// The line of the page.
    pub(crate) fn line(&self) -> String {
        let Self { fault, meaning, source, place, seed } = self;
        let place = place.as_ref().map_or_else(|| NONE.to_owned(), |place| format!("`{place}`"));
        let seed = seed.map_or_else(|| NONE.to_owned(), |seed| seed.to_string());
        format!("| `{}` | {meaning} | {source} | {place} | {seed} |", fault.name())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn rows() -> Vec<Row> {
        let page = fs::read_to_string(PAGE).expect("the page is there");
        page.lines().filter_map(Row::parse).collect()
    }

    #[test]
    fn the_page_says_of_every_fault_what_the_code_says() {
        let rows = rows();
        let listed: Vec<_> = rows.iter().map(|row| row.fault).collect();
        assert_eq!(listed, Fault::ALL, "the page lists the faults in the order of the code");
        for row in &rows {
            assert_eq!(row.meaning, row.fault.meaning());
            assert_eq!(row.source, row.fault.source());
            assert_eq!(Row::parse(&row.line()).as_ref(), Some(row));
            assert!(row.seed.is_none() || row.place.is_some(), "{row:?} is found and nowhere planted");
        }
    }

    #[test]
    fn every_place_of_the_page_asks_for_its_fault() {
        for row in rows() {
            // Some are planted in several places.
            for place in row.place.iter().flat_map(|places| places.split("`, `")) {
                let path = format!("{}/../../{place}", env!("CARGO_MANIFEST_DIR"));
                let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
                let asked = format!("planted::is(Fault::{:?})", row.fault);
                let renamed = format!("planted::is(Planted::{:?})", row.fault);
                assert!(source.contains(&asked) || source.contains(&renamed), "{place} does not ask {asked}");
            }
        }
    }

    #[cfg(feature = "planted")]
    #[test]
    fn every_recorded_seed_finds_its_fault_and_passes_without_it() {
        let missed = search::replay(&rows());
        assert!(missed.is_empty(), "{missed:#?}");
    }
}
