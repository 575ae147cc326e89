//! What the voter, its state machine and its log share: what is handed out, and who waits for it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use openraft::EntryPayload;
use pondage_model::{LogTime, Position, Refusal, Uuid, limits};
use pondage_node::catalog::{ConsensusOutput, ProposalId, ReadId, consensus::revision_at};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    ports::{Ended, Notice},
    types::{Entry, LogId, Origin, Proposed},
};

/// Committed entries that are handed out and not taken; then the state machine waits.
const HANDED_OUT_MAX: usize = limits::CATALOG_PENDING_MAX;

/// Bytes of those.
const HANDED_OUT_BYTES_MAX: usize = limits::SYNC_BATCH_BYTES_MAX;

/// Shared by all parts of a voter.
pub(crate) struct Shared {
    /// Names this process among proposers.
    process: Uuid,
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
    state: Mutex<State>,
    /// The owner took something.
    taken: Notify,
    log_time: AtomicI64,
    ended: AtomicBool,
    ending: CancellationToken,
}

#[derive(Default)]
struct State {
    outputs: VecDeque<ConsensusOutput>,
    /// Committed commands among the outputs, and their bytes.
    handed_out: usize,
    handed_out_bytes: usize,
    /// The last entry that was handed out.
    applied: Option<LogId>,
    /// Proposals without an outcome.
    proposals: BTreeSet<ProposalId>,
    proposals_bytes: usize,
    /// Reads without an outcome.
    reads: BTreeSet<ReadId>,
    /// Of these, the ones that know which entry they wait for.
    waiting: BTreeSet<(u64, ReadId)>,
    /// Commands that the library has, and whether they reached the log here.
    submitted: BTreeMap<Origin, bool>,
    /// Who waits for the pages of a checkpoint, in the order in which they were asked for.
    checkpoints: VecDeque<oneshot::Sender<Vec<Bytes>>>,
    /// Bytes of commands since the newest snapshot.
    bytes_since_snapshot: u64,
    snapshot_bytes: u64,
    snapshot_wanted: bool,
    /// After it nothing is accepted.
    fault: Option<Refusal>,
}

impl Shared {
    pub(crate) fn new(process: Uuid, notify: Arc<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self {
            process,
            notify,
            state: Mutex::default(),
            taken: Notify::new(),
            log_time: AtomicI64::new(i64::MIN),
            ended: AtomicBool::new(false),
            ending: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the owner to look.
    pub(crate) fn changed(&self) {
        (self.notify)(Notice::Changed);
    }

    /// The voter ends by itself; the first reason counts.
    pub(crate) fn end(&self, why: Ended) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.ending.cancel();
            (self.notify)(Notice::Ended(why));
        }
    }

    /// The owner ends the voter: nobody is told.
    pub(crate) fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.ending.cancel();
    }

    pub(crate) fn volume_failed(&self, what: &str) {
        self.end(Ended::VolumeFailed(what.to_owned()));
    }

    /// When the voter ends.
    pub(crate) async fn ending(&self) {
        self.ending.cancelled().await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The log clock, as the owner last told it.
    pub(crate) fn log_time(&self) -> LogTime {
        LogTime(self.log_time.load(Ordering::Relaxed))
    }

    pub(crate) fn tick(&self, now: LogTime) {
        self.log_time.fetch_max(now.0, Ordering::Relaxed);
    }

    // Proposals

    /// Takes a proposal in, or says why not; its name among all proposals ever made.
    pub(crate) fn propose(&self, id: ProposalId, command: &Bytes) -> Option<Origin> {
        let limit = limits::CATALOG_COMMAND_BYTES_MAX;
        let mut state = self.lock();
        let refusal = if let Some(fault) = &state.fault {
            Some(fault.clone())
        } else if command.len() > limit {
            let bytes = command.len() as u64;
            Some(Refusal::TooLarge { what: "a command to the catalog", bytes, limit: limit as u64 })
        } else if state.proposals.len() >= limits::CATALOG_PENDING_MAX
            || state.proposals_bytes + command.len() > limits::SYNC_BATCH_BYTES_MAX
        {
            Some(Refusal::Busy { what: "commands to the catalog" })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            state.outputs.push_back(ConsensusOutput::Failed { proposal: id, refusal });
            return None;
        }
        state.proposals.insert(id);
        state.proposals_bytes += command.len();
        Some(Origin { process: self.process, proposal: id.0 })
    }

    /// The proposal's task is over, with `bytes` of its command.
    pub(crate) fn proposal_over(&self, bytes: usize) {
        let mut state = self.lock();
        state.proposals_bytes = state.proposals_bytes.saturating_sub(bytes);
    }

    /// The proposal fails, unless its outcome is known already.
    pub(crate) fn fail_proposal(&self, proposal: ProposalId, refusal: Refusal) {
        let mut state = self.lock();
        if state.proposals.remove(&proposal) {
            state.outputs.push_back(ConsensusOutput::Failed { proposal, refusal });
            drop(state);
            self.changed();
        }
    }

    pub(crate) fn has_outcome(&self, proposal: ProposalId) -> bool {
        !self.lock().proposals.contains(&proposal)
    }

    /// The library is about to get this command.
    pub(crate) fn submit(&self, origin: Origin) {
        self.lock().submitted.insert(origin, false);
    }

    /// The entry is about to be written to the log.
    pub(crate) fn appended(&self, entry: &Entry) {
        if let EntryPayload::Normal(Proposed { origin, .. }) = &entry.payload
            && let Some(appended) = self.lock().submitted.get_mut(origin)
        {
            *appended = true;
        }
    }

    /// The library answered; whether the command may be in the log.
    pub(crate) fn was_appended(&self, origin: Origin) -> bool {
        self.lock().submitted.remove(&origin).unwrap_or(true)
    }

    // Reads

    /// Takes a read in; `false` if it was refused.
    pub(crate) fn read(&self, id: ReadId) -> bool {
        let mut state = self.lock();
        let refusal = if let Some(fault) = &state.fault {
            fault.clone()
        } else if state.reads.len() >= limits::CATALOG_PENDING_MAX {
            Refusal::Busy { what: "reads of the catalog" }
        } else {
            state.reads.insert(id);
            return true;
        };
        state.outputs.push_back(ConsensusOutput::ReadFailed { read: id, refusal });
        false
    }

    /// The read sees everything once this entry is handed out.
    pub(crate) fn read_waits_for(&self, read: ReadId, index: Option<u64>) {
        let mut state = self.lock();
        let applied = state.applied.map(|id| id.index);
        if applied >= index {
            if state.reads.remove(&read) {
                state.outputs.push_back(ConsensusOutput::ReadReady(read));
                drop(state);
                self.changed();
            }
        } else if let Some(index) = index
            && state.reads.contains(&read)
        {
            state.waiting.insert((index, read));
        }
    }

    /// The read fails, unless it is ready already.
    pub(crate) fn fail_read(&self, read: ReadId, refusal: Refusal) {
        let mut state = self.lock();
        if state.reads.remove(&read) {
            state.waiting.retain(|(_, waiting)| *waiting != read);
            state.outputs.push_back(ConsensusOutput::ReadFailed { read, refusal });
            drop(state);
            self.changed();
        }
    }

    // What the state machine hands out

    /// Waits until there is room to hand out more.
    pub(crate) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            {
                let state = self.lock();
                let full =
                    state.handed_out >= HANDED_OUT_MAX || state.handed_out_bytes >= HANDED_OUT_BYTES_MAX;
                if !full || state.fault.is_some() {
                    return;
                }
            }
            self.changed();
            tokio::select! {
                () = taken => {}
                () = self.ending() => return,
            }
        }
    }

    /// Hands out a committed entry.
    pub(crate) fn hand_out(&self, entry: Entry) {
        let mut state = self.lock();
        let position = Position(entry.log_id.index);
        if let EntryPayload::Normal(Proposed { origin, command }) = entry.payload {
            let proposal = (origin.process == self.process).then_some(ProposalId(origin.proposal));
            let proposal = proposal.filter(|proposal| state.proposals.remove(proposal));
            state.handed_out += 1;
            state.handed_out_bytes += command.len();
            state.bytes_since_snapshot += command.len() as u64;
            let revision = revision_at(position);
            state.outputs.push_back(ConsensusOutput::Committed { position, revision, command, proposal });
        }
        state.applied_to(entry.log_id);
    }

    /// Hands out a state that replaces everything before.
    pub(crate) fn hand_out_snapshot(&self, last: LogId, pages: Vec<Bytes>) {
        let mut state = self.lock();
        state.snapshot_bytes = pages.iter().map(|page| page.len() as u64).sum();
        state.bytes_since_snapshot = 0;
        let revision = revision_at(Position(last.index));
        state.outputs.push_back(ConsensusOutput::Restored { revision, pages });
        state.applied_to(last);
        drop(state);
        self.changed();
    }

    /// At the start, the catalog of a snapshot is what the owner begins with.
    pub(crate) fn begin_at(&self, last: Option<LogId>, snapshot_bytes: u64) {
        let mut state = self.lock();
        state.applied = last;
        state.snapshot_bytes = snapshot_bytes;
    }

    /// Asks the owner for the state as it is after everything handed out so far.
    pub(crate) fn ask_checkpoint(&self) -> oneshot::Receiver<Vec<Bytes>> {
        let (pages, wanted) = oneshot::channel();
        let mut state = self.lock();
        if state.fault.is_none() {
            state.checkpoints.push_back(pages);
            state.bytes_since_snapshot = 0;
            state.snapshot_wanted = false;
            state.outputs.push_back(ConsensusOutput::TakeCheckpoint);
        }
        drop(state);
        self.changed();
        wanted
    }

    /// The owner's answer.
    pub(crate) fn checkpoint_taken(&self, pages: Vec<Bytes>) {
        let mut state = self.lock();
        let asked = state.checkpoints.pop_front();
        state.snapshot_bytes = pages.iter().map(|page| page.len() as u64).sum();
        drop(state);
        if let Some(asked) = asked {
            let _nobody_waits = asked.send(pages);
        }
    }

    pub(crate) fn want_snapshot(&self) {
        self.lock().snapshot_wanted = true;
    }

    /// Whether a snapshot is due. It costs what it holds, so it waits for about twice as many bytes of commands.
    pub(crate) fn is_snapshot_due(&self) -> bool {
        let state = self.lock();
        let enough = limits::CATALOG_CHECKPOINT_BYTES_MIN.max(state.snapshot_bytes.saturating_mul(2));
        state.checkpoints.is_empty()
            && state.applied.is_some()
            && (state.snapshot_wanted || state.bytes_since_snapshot >= enough)
    }

    /// The term of the last entry that was handed out, and its index.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.lock().applied
    }

    // The owner's side

    /// Fails all that waits; nothing is accepted from here on.
    pub(crate) fn fault(&self, refusal: &Refusal) {
        let mut state = self.lock();
        if state.fault.is_some() {
            return;
        }
        state.fault = Some(refusal.clone());
        for proposal in std::mem::take(&mut state.proposals) {
            state.outputs.push_back(ConsensusOutput::Failed { proposal, refusal: refusal.clone() });
        }
        for read in std::mem::take(&mut state.reads) {
            state.outputs.push_back(ConsensusOutput::ReadFailed { read, refusal: refusal.clone() });
        }
        state.waiting.clear();
        state.checkpoints.clear();
        drop(state);
        self.taken.notify_waiters();
    }

    /// The next thing for the owner to do.
    pub(crate) fn poll(&self) -> Option<ConsensusOutput> {
        let mut state = self.lock();
        let output = state.outputs.pop_front()?;
        if let ConsensusOutput::Committed { command, .. } = &output {
            state.handed_out -= 1;
            state.handed_out_bytes -= command.len();
            drop(state);
            self.taken.notify_waiters();
        }
        Some(output)
    }
}

impl State {
    fn applied_to(&mut self, last: LogId) {
        self.applied = Some(last);
        while let Some((_, read)) = self.waiting.first().copied().filter(|(index, _)| *index <= last.index) {
            self.waiting.pop_first();
            if self.reads.remove(&read) {
                self.outputs.push_back(ConsensusOutput::ReadReady(read));
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("applied", &state.applied)
            .field("outputs", &state.outputs.len())
            .field("proposals", &state.proposals.len())
            .field("reads", &state.reads.len())
            .finish_non_exhaustive()
    }
}
