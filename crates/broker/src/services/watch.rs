//! Watching the catalog: what there is, or what changed since, then every change as it comes.

use std::collections::HashMap;

use pondage_model::{Name, Refusal, Revision, Uuid};
use pondage_node::{
    catalog::{Action, Change},
    coordinator::{AdminReply, AdminRequest, Resource as Found, ResourceKind as FoundKind, ResourceSettings},
    disk::Disk,
};
use pondage_protocol::{
    admin::{WatchEvent, Watched},
    to_status, v1,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    Services,
    admin::{resource, wire_kind},
    outbound::{Gone, Outbound},
};

/// Why a watch ends.
enum End {
    Gone,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One watch.
struct Watch<D: Disk> {
    services: Services<D>,
    out: Outbound<v1::WatchResponse>,
    /// Every change up to here was sent.
    seen: Revision,
    /// Who has which name: a deletion tells the name only.
    uids: HashMap<(FoundKind, Name), Uuid>,
}

impl<D: Disk> Services<D> {
    /// Serves a watch until the client goes, the broker stops or the watch falls too far behind.
    pub(super) async fn watch_stream(self, from: Revision, out: Outbound<v1::WatchResponse>) {
        // Before anything is read, so that no change falls between.
        let changes = self.handle().changes();
        let stopping = self.0.stopping.clone();
        let mut watch = Watch { services: self.clone(), out: out.clone(), seen: from, uids: HashMap::new() };
        let ended = tokio::select! {
            ended = watch.run(changes) => ended,
            () = stopping.cancelled() => Err(End::Refused(Refusal::ShuttingDown)),
            () = out.closed() => return,
        };
        if let Err(End::Refused(refusal)) = ended {
            self.metrics().refused(refusal.code());
            out.fail(to_status(&refusal)).await;
        }
    }
}

impl<D: Disk> Watch<D> {
    async fn run(&mut self, mut changes: Receiver<Change>) -> Result<(), End> {
        self.begin().await?;
        loop {
            match changes.recv().await {
                Ok(change) if change.revision <= self.seen => {}
                Ok(change) => self.tell(change).await?,
                Err(RecvError::Lagged(_)) => self.catch_up().await?,
                Err(RecvError::Closed) => return Err(Refusal::ShuttingDown.into()),
            }
        }
    }

    async fn begin(&mut self) -> Result<(), End> {
        let AdminReply::Resources(found, revision) = self.ask(AdminRequest::List(None)).await? else {
            return Err(Refusal::Interrupted.into());
        };
        let everything = self.seen == Revision::ZERO;
        for found in found {
            self.remember(&found);
            if everything {
                self.send(found.revision, Watched::Changed(Box::new(resource(found)))).await?;
            }
        }
        if everything {
            self.seen = revision;
        } else {
            self.catch_up().await?;
        }
        self.send(self.seen, Watched::Synced).await
    }

    /// Tells the changes that the catalog remembers.
    async fn catch_up(&mut self) -> Result<(), End> {
        match self.ask(AdminRequest::Changes(self.seen)).await? {
            AdminReply::Changes(Some(changes), revision) => {
                for change in changes {
                    self.tell(change).await?;
                }
                self.seen = self.seen.max(revision);
                Ok(())
            }
            AdminReply::Changes(None, _) => Err(Refusal::ChangesForgotten { since: self.seen }.into()),
            _ => Err(Refusal::Interrupted.into()),
        }
    }

    async fn tell(&mut self, change: Change) -> Result<(), End> {
        let Change { revision, kind, name, action } = change;
        self.seen = revision;
        match action {
            Action::Applied => match self.services.find(wire_kind(kind), &name).await? {
                Some(found) => {
                    self.remember(&found);
                    self.send(revision, Watched::Changed(Box::new(resource(found)))).await
                }
                // Deleted since: that change is still to come.
                None => Ok(()),
            },
            Action::Deleted => {
                let uid = self.uids.remove(&(kind, name.clone())).unwrap_or_default();
                self.send(revision, Watched::Deleted { kind: wire_kind(kind), name, uid }).await
            }
        }
    }

    fn remember(&mut self, found: &Found) {
        let kind = match found.settings {
            ResourceSettings::Topic(_) => FoundKind::Topic,
            ResourceSettings::Queue(_) => FoundKind::Queue,
            ResourceSettings::Group(_) => FoundKind::Group,
        };
        self.uids.insert((kind, found.name.clone()), found.uid);
    }

    async fn ask(&self, request: AdminRequest) -> Result<AdminReply, Refusal> {
        self.services.handle().admin(request).await
    }

    async fn send(&self, revision: Revision, what: Watched) -> Result<(), End> {
        Ok(self.out.send(WatchEvent { revision, what }.into()).await?)
    }
}
