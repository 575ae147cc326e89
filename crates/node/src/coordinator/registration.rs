//! How this start of the volume becomes known to the cluster.
//!
//! The volume keeps the number and nonce of its latest start. Which of them the catalog has seen tells what the
//! volume is:
//!
//! ```text
//! the catalog's row            the volume's (number, nonce)       what follows
//! none                         (1, a)                             register (1, a)
//! none                         (n > 1, a)                         Fatal: another cluster's, or a lost catalog
//! (n, _)                       (n + 1, a)                         register (n + 1, a): that start died early
//! (n, a)                       (n, a)                             write (n + 1, fresh), then register it
//! (n, other)                   (n, a)                             Reformat: a copy of the disk went on
//! (m > n, _)                   (n, a)                             Reformat: restored from a backup
//! (m < n - 1, _)               (n, a)                             Fatal: the catalog lost its past
//! ```
//!
//! The row must be one that was read after the start, or two starts could take each other for one.

use pondage_catalog::{Command, Consensus, FEATURE_LEVELS, ReadId};
use pondage_model::{BrokerId, Incarnation, Refusal, Uuid};

use super::{
    Coordinator, CoordinatorEffect, Identity, Rack,
    machine::{Purpose, Reading},
};

/// How far the registration is.
#[derive(Debug)]
pub(super) struct Registration {
    step: Step,
    /// For the next number.
    next_nonce: Option<Uuid>,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Which of its starts the catalog has seen is not known.
    Unknown,
    /// The next number is being made durable.
    Writing(Incarnation, Uuid),
    /// The number is this start's own: it is proposed until the catalog shows it.
    Numbered,
    Registered(BrokerId),
}

impl Registration {
    /// Of a start whose number was chosen on the whole catalog.
    pub(super) const fn numbered() -> Self {
        Self { step: Step::Numbered, next_nonce: None, started: false }
    }

    /// Of a start that has to read the catalog first.
    pub(super) const fn unknown(next_nonce: Uuid) -> Self {
        Self { step: Step::Unknown, next_nonce: Some(next_nonce), started: false }
    }

    pub(super) const fn begin(&mut self) {
        self.started = true;
    }

    pub(super) const fn broker(&self) -> Option<BrokerId> {
        if let Step::Registered(broker) = self.step { Some(broker) } else { None }
    }

    /// The next number is durable.
    pub(super) const fn written(&mut self, identity: &mut Identity) {
        if let Step::Writing(incarnation, nonce) = self.step {
            (identity.incarnation, identity.nonce) = (incarnation, nonce);
            self.step = Step::Numbered;
        }
    }
}

impl<C: Consensus> Coordinator<C> {
    /// Does the next step towards being registered.
    pub(super) fn register(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        if !self.registration.started {
            return;
        }
        match self.registration.step {
            Step::Unknown => {
                let reads = self.reads.values().any(|reading| matches!(reading, Reading::Registration));
                if !reads && self.may_try() {
                    let read = ReadId(self.new_id());
                    self.reads.insert(read, Reading::Registration);
                    self.consensus.read_index(read);
                }
            }
            Step::Numbered => self.propose_registration(effects),
            Step::Writing(..) | Step::Registered(_) => {}
        }
    }

    /// The catalog is as new as this start: see the table above.
    pub(super) fn choose_number(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        if self.registration.step != Step::Unknown {
            return;
        }
        self.registration.step = Step::Numbered;
        let Identity { volume, incarnation, nonce, .. } = self.identity;
        if let Some(row) = self.catalog.broker_of(volume)
            && (row.incarnation, row.nonce) == (incarnation, nonce)
            && let Some(next) = self.registration.next_nonce.take()
        {
            let incarnation = incarnation.next();
            self.registration.step = Step::Writing(incarnation, next);
            effects.push(CoordinatorEffect::WriteIdentity { incarnation, nonce: next });
        }
    }

    fn propose_registration(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let Identity { cluster, volume, incarnation, nonce, ref address, ref rack, replaces } = self.identity;
        match self.catalog.cluster() {
            Some(found) if found.uuid != cluster => {
                let what = format!(
                    "the volume belongs to cluster {cluster} and this is {}: give the broker an empty volume",
                    found.uuid
                );
                return self.end(Refusal::Conflict { what }, effects);
            }
            None => {
                if self.may_try() && !self.is_proposed(|purpose| *purpose == Purpose::Initialise) {
                    self.propose(Purpose::Initialise, &Command::Initialise { cluster, nonce });
                }
                return;
            }
            Some(_) => {}
        }
        let row = self.catalog.broker_of(volume);
        if let Some(row) = row {
            if (row.incarnation, row.nonce) == (incarnation, nonce) {
                self.registration.step = Step::Registered(row.id);
                return self.registered_as(row.member(), effects);
            }
            if row.incarnation >= incarnation || row.lost {
                return self.reformat(effects);
            }
        }
        if self.may_try() && !self.is_proposed(|purpose| *purpose == Purpose::Register) {
            let rack = match rack {
                // Only a start of the volume changes it, and the row was read after this one.
                Rack::Unsaid => row.and_then(|row| row.rack.clone()),
                Rack::Nowhere => None,
                Rack::Named(name) => Some(name.clone()),
            };
            let command = Command::RegisterBroker {
                volume,
                incarnation,
                nonce,
                address: address.clone(),
                rack,
                feature_levels: FEATURE_LEVELS,
                replaces,
            };
            self.propose(Purpose::Register, &command);
        }
    }

    /// What the catalog says of a registration is definite; a volume that only came too late is looked at anew.
    pub(super) fn registration_refused(&mut self, refusal: Refusal, effects: &mut Vec<CoordinatorEffect>) {
        let row = self.catalog.broker_of(self.identity.volume);
        if row.is_none_or(|row| row.incarnation < self.identity.incarnation && !row.lost) {
            self.end(refusal, effects);
        }
    }

    /// Whether another start of this volume took over, or the volume was given up while it ran.
    pub(super) fn check_superseded(&mut self, broker: BrokerId, effects: &mut Vec<CoordinatorEffect>) {
        let own = (self.identity.incarnation, self.identity.nonce);
        let row = self.catalog.broker(broker);
        let what = match row {
            Some(row) if row.lost => format!("the volume of broker {broker} was declared lost"),
            Some(row) if (row.incarnation, row.nonce) == own => return,
            Some(row) => format!(
                "start {} of broker {broker} was registered while start {} was running: two processes use copies \
                 of one volume",
                row.incarnation, own.0
            ),
            None => format!("broker {broker} was removed from the cluster"),
        };
        self.end(Refusal::Conflict { what }, effects);
    }
}
