//! The series of one kind of thing, such as queues: rows of figures, and their text, compressed in pieces that are kept
//! until one of their figures changes.
//!
//! Prometheus wants all samples of a metric together, so a thing that moved has lines all over the document. A piece is
//! one metric of a few neighbouring rows: what a moved thing costs is the pieces of the metrics that changed.

use std::{collections::HashMap, fmt::Write, hash::Hash, ops::Range};

use pondage_model::{LogTime, ShardId};

use super::{
    catalogue::Metric,
    gzip::{Deflater, Document, Piece},
};

/// Rows whose samples of one metric are compressed together. More of them compress better, fewer cost less when one of
/// them moves.
const ROWS_PER_PIECE: usize = 64;

/// A metric, and its samples of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) metric: Metric,
    pub(super) samples: Samples,
}

/// Where a row's samples come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Samples {
    /// The next columns, one for each of these: labels in front of the row's own and behind them.
    Columns(&'static [(&'static str, &'static str)]),
    /// The next column, which counts milliseconds, as seconds.
    Seconds,
    /// The age of the row's oldest message.
    Age,
}

impl Samples {
    const fn columns(self) -> usize {
        match self {
            Self::Columns(columns) => columns.len(),
            Self::Seconds => 1,
            Self::Age => 0,
        }
    }
}

/// One thing.
#[derive(Debug)]
struct Row<K> {
    key: K,
    shard: ShardId,
    labels: Box<str>,
    figures: Figures,
}

/// What is shown of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) columns: Box<[u64]>,
    /// When its oldest message came, by the clock of its shard's log.
    pub(super) oldest: Option<LogTime>,
}

/// All things of a kind, in no order.
#[derive(Debug)]
pub(super) struct Table<K> {
    families: &'static [Family],
    /// Rows beyond are left out.
    shown_max: usize,
    rows: Vec<Row<K>>,
    places: HashMap<K, usize>,
    /// By family, then by place. None is to be made anew.
    pieces: Vec<Vec<Option<Piece>>>,
}

impl<K: Clone + Eq + Hash> Table<K> {
    pub(super) fn new(families: &'static [Family], shown_max: usize) -> Self {
        let pieces = families.iter().map(|_| Vec::new()).collect();
        Self { families, shown_max, rows: Vec::new(), places: HashMap::new(), pieces }
    }

    /// Takes over the figures of a thing, known or new.
    pub(super) fn set(&mut self, key: K, shard: ShardId, labels: &str, figures: Figures) {
        let Some(&place) = self.places.get(&key) else {
            self.places.insert(key.clone(), self.rows.len());
            self.rows.push(Row { key, shard, labels: labels.into(), figures });
            return self.renew(self.rows.len() - 1);
        };
        let row = &mut self.rows[place];
        if row.shard != shard || *row.labels != *labels {
            (row.shard, row.labels, row.figures) = (shard, labels.into(), figures);
            return self.renew(place);
        }
        let mut column = 0;
        for (family, pieces) in self.families.iter().zip(&mut self.pieces) {
            let next = column + family.samples.columns();
            let is_same = match family.samples {
                Samples::Columns(_) | Samples::Seconds => {
                    row.figures.columns[column..next] == figures.columns[column..next]
                }
                Samples::Age => row.figures.oldest == figures.oldest,
            };
            if !is_same {
                pieces[place / ROWS_PER_PIECE] = None;
            }
            column = next;
        }
        row.figures = figures;
    }

    /// Changes one figure of a thing, if it is known.
    pub(super) fn set_column(&mut self, key: &K, column: usize, value: u64) {
        let Some(&place) = self.places.get(key) else { return };
        let row = &self.rows[place];
        if row.figures.columns[column] != value {
            let mut figures = row.figures.clone();
            figures.columns[column] = value;
            let (shard, labels) = (row.shard, row.labels.clone());
            self.set(key.clone(), shard, &labels, figures);
        }
    }

    /// Forgets a thing, unless another shard told of it since. The last one takes its place.
    pub(super) fn remove(&mut self, key: &K, shard: ShardId) {
        let Some(&place) = self.places.get(key).filter(|place| self.rows[**place].shard == shard) else {
            return;
        };
        self.places.remove(key);
        self.rows.swap_remove(place);
        if let Some(moved) = self.rows.get(place) {
            self.places.insert(moved.key.clone(), place);
            self.renew(place);
        }
        self.renew(self.rows.len());
    }

    /// Everything at this place is to be made anew. The place behind the last row is one that a row has left.
    fn renew(&mut self, place: usize) {
        let (piece, count) = (place / ROWS_PER_PIECE, self.rows.len().div_ceil(ROWS_PER_PIECE));
        for pieces in &mut self.pieces {
            pieces.resize_with(count, || None);
            if let Some(piece) = pieces.get_mut(piece) {
                *piece = None;
            }
        }
    }

    /// Whether it is known.
    pub(super) fn has(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// How many things are known and not shown.
    pub(super) fn left_out(&self) -> usize {
        self.rows.len().saturating_sub(self.shown_max)
    }

    fn shown(&self) -> usize {
        self.rows.len().min(self.shown_max)
    }

    /// Adds everything as text.
    pub(super) fn write(&self, now: impl Fn(ShardId) -> LogTime, out: &mut String) {
        for family in self.numbered() {
            self.write_family(family, 0..self.shown(), &now, out);
        }
    }

    /// Adds everything, compressed: as much of it anew as changed.
    pub(super) fn deflate(
        &mut self,
        now: impl Fn(ShardId) -> LogTime,
        deflater: &mut Deflater,
        document: &mut Document,
    ) {
        let mut text = String::new();
        for (family, column) in self.numbered() {
            for piece in 0..self.shown().div_ceil(ROWS_PER_PIECE) {
                let first = piece * ROWS_PER_PIECE;
                let rows = first..self.shown().min(first + ROWS_PER_PIECE);
                // Ages grow by themselves, where there are any.
                let grows = matches!(self.families[family].samples, Samples::Age)
                    && self.rows[rows.clone()].iter().any(|row| row.figures.oldest.is_some());
                if grows || self.pieces[family][piece].is_none() {
                    text.clear();
                    self.write_family((family, column), rows, &now, &mut text);
                    self.pieces[family][piece] = Some(deflater.piece(text.as_bytes()));
                }
                if let Some(piece) = &self.pieces[family][piece] {
                    document.push(piece);
                }
            }
        }
    }

    /// Every family with its first column.
    fn numbered(&self) -> impl Iterator<Item = (usize, usize)> + use<K> {
        let first = |column: &mut usize, family: &Family| {
            let first = *column;
            *column += family.samples.columns();
            Some(first)
        };
        self.families.iter().scan(0, first).enumerate()
    }

    /// Adds these rows' samples, behind the metric's description if the first row is among them.
    fn write_family(
        &self,
        (family, column): (usize, usize),
        rows: Range<usize>,
        now: impl Fn(ShardId) -> LogTime,
        out: &mut String,
    ) {
        let Family { metric, samples } = &self.families[family];
        let name = metric.name;
        if rows.start == 0 && !rows.is_empty() {
            // Writing to a string can't fail, here and below.
            let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.as_str());
        }
        for row in &self.rows[rows] {
            let (labels, figures) = (&row.labels, &row.figures);
            match samples {
                Samples::Age => {
                    let age = figures.oldest.map(|oldest| now(row.shard).millis_since(oldest));
                    let _ = writeln!(out, "{name}{{{labels}}} {}", seconds(age));
                }
                Samples::Seconds => {
                    let _ = writeln!(out, "{name}{{{labels}}} {}", seconds(Some(figures.columns[column])));
                }
                Samples::Columns(columns) => {
                    for ((before, behind), value) in columns.iter().zip(&figures.columns[column..]) {
                        let _ = writeln!(out, "{name}{{{before}{labels}{behind}}} {value}");
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times in milliseconds are far below 2^53")]
fn seconds(millis: Option<u64>) -> f64 {
    millis.unwrap_or(0) as f64 / 1_000.0
}
