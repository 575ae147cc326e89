//! How far the publishing has come, on stderr: a bar on a terminal, else a line every few seconds.

use std::{
    cell::Cell,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{commands::remark, input::Source, render::text};

/// The time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The time between two looks at the figures.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Progress that is shown, or not.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    start: Instant,
    next: Cell<Instant>,
    read_bytes: Cell<u64>,
}

impl Progress {
    pub(super) fn start(sources: &[Source], is_quiet: bool) -> Self {
        // A bar would draw over what is being typed.
        let is_typed = sources.contains(&Source::Stdin) && std::io::stdin().is_terminal();
        let has_bar = !is_quiet && !is_typed && std::io::stderr().is_terminal();
        let size: Option<u64> = sources.iter().map(Source::size_bytes).sum();
        let start = Instant::now();
        Self {
            bar: has_bar.then(|| bar(size)),
            is_quiet: is_quiet || is_typed,
            start,
            next: Cell::new(start + if has_bar { DRAW_EVERY } else { LINE_EVERY }),
            read_bytes: Cell::new(0),
        }
    }

    /// So much of the input has been read.
    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.set(bytes);
    }

    /// So many messages are durable.
    pub(super) fn acknowledged(&self, count: u64, bytes: u64) {
        if self.is_quiet || Instant::now() < self.next.get() {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let rate = text::bytes((bytes as f64 / seconds) as u64);
        let line = format!("{count} published, {rate}/s");
        let every = match &self.bar {
            Some(bar) => {
                bar.set_position(self.read_bytes.get());
                bar.set_message(line);
                DRAW_EVERY
            }
            None => {
                remark(&line);
                LINE_EVERY
            }
        };
        self.next.set(Instant::now() + every);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent:>3}%  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
