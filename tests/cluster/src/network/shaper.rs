//! Delay, jitter and duplicates in user space: packets go into a TUN device, wait here, and come out of it again.
//!
//! Jitter is drawn for each packet by itself, so that packets overtake each other.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{ErrorKind, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Namespace;
use crate::{chance::Chance, kernel};

/// The device's name.
pub(super) const DEVICE: &str = "shaper";
/// The routing table that leads into it.
pub(super) const TABLE: u32 = 100;

/// Packets that may wait; what comes on top is lost, as in a router.
const WAITING_MAX: usize = 50_000;
/// More than the largest packet of the device.
const PACKET_BYTES_MAX: usize = 1 << 16;
/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long packets take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// At least.
    pub delay: Duration,
    /// More, at random, for each packet by itself.
    pub jitter: Duration,
    /// Of a hundred packets, so many come twice.
    pub duplicates_percent: u64,
}

#[derive(Debug, Default)]
struct Shared {
    shape: Mutex<Shape>,
    packets: AtomicU64,
    is_over: AtomicBool,
}

/// The thread that holds packets back.
#[derive(Debug)]
pub(super) struct Shaper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Shaper {
    /// Makes the device in the hub and waits for packets.
    pub(super) fn start(hub: &Namespace) -> Result<Self> {
        let device = hub.within(|| kernel::tun(DEVICE))?;
        let shared = Arc::new(Shared::default());
        let mut work = Work { device, shared: shared.clone(), waiting: BinaryHeap::new(), sequence: 0 };
        let thread = thread::Builder::new().name("shaper".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn set(&self, shape: Shape) {
        *self.shared.shape.lock().unwrap_or_else(PoisonError::into_inner) = shape;
    }

    pub(super) fn packets(&self) -> u64 {
        self.shared.packets.load(Relaxed)
    }

    /// Ends the thread, and the device with it.
    pub(super) fn stop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It can't panic half way through anything that matters.
            let _ = thread.join();
        }
    }
}

/// A packet that waits: when it is due, its number among all, itself.
type Waiting = Reverse<(Instant, u64, Vec<u8>)>;

struct Work {
    device: File,
    shared: Arc<Shared>,
    waiting: BinaryHeap<Waiting>,
    sequence: u64,
}

impl Work {
    fn run(&mut self) {
        let mut chance = Chance::new(7);
        let mut packet = vec![0; PACKET_BYTES_MAX];
        while !self.shared.is_over.load(Relaxed) {
            self.wait();
            let shape = *self.shared.shape.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match self.device.read(&mut packet) {
                    Ok(0) => break,
                    Ok(length) => self.take(&packet[..length], shape, &mut chance),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Nothing more for now; or the device is not up yet.
                    Err(_) => break,
                }
            }
            self.give();
        }
    }

    /// Until there is a packet, or one is due.
    fn wait(&self) {
        let now = Instant::now();
        let due = self.waiting.peek().map_or(LOOK, |Reverse((due, ..))| due.saturating_duration_since(now));
        let due = due.min(LOOK);
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(due.subsec_nanos()) };
        let mut device = [PollFd::new(&self.device, PollFlags::IN)];
        if poll(&mut device, Some(&limit)).is_err() || device[0].revents().contains(PollFlags::ERR) {
            // A device that is down says so at once, again and again.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn take(&mut self, packet: &[u8], shape: Shape, chance: &mut Chance) {
        self.shared.packets.fetch_add(1, Relaxed);
        let copies = if chance.percent(shape.duplicates_percent) { 2 } else { 1 };
        for _ in 0..copies {
            if self.waiting.len() >= WAITING_MAX {
                return;
            }
            let jitter = Duration::from_micros(chance.below(1 + shape.jitter.as_micros() as u64));
            let due = Instant::now() + shape.delay + jitter;
            self.sequence += 1;
            self.waiting.push(Reverse((due, self.sequence, packet.to_vec())));
        }
    }

    fn give(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, ..))) = self.waiting.peek()
            && *due <= now
        {
            let Some(Reverse((.., packet))) = self.waiting.pop() else { return };
            // A packet that the hub does not want is lost, as packets are.
            let _ = self.device.write(&packet);
        }
    }
}
