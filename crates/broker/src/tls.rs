//! TLS of the one listener, and of the connections to other brokers.
//!
//! | who connects | certificate | may |
//! |---|---|---|
//! | a client | none | use the messages' API |
//! | an operator or administrator | one of the configured authority | use the administrators' API too |
//! | a broker | one of that authority with the *peer name* among its DNS names | stream and call |
//!
//! A certificate that is presented is verified at the handshake, and a bad one ends it: nobody is served as less than
//! they claim. The peer name is what makes a certificate a broker's: one authority signs for clients, operators and
//! brokers, and a client's key must not be able to feed entries to a replica. A broker checks it on both sides: on who
//! dials it, and on who answers where it dialled, together with the address's own name.
//!
//! Sessions are never resumed. Connections live long, so it would save little, and a resumed session is not verified
//! again: a certificate that has expired, or whose authority was replaced, would pass.

mod connect;
mod exposure;
mod files;
mod presented;
mod validity;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use exposure::{Exposed, Notice, check_exposure};
use files::Loaded;
pub use files::{TlsError, TlsFiles};
pub use presented::{Presented, require_certificate, require_peer_certificate};

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Keys and certificates in use; they change when their files do. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    files: TlsFiles,
    loaded: RwLock<Arc<Loaded>>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// What metrics say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// When the certificate in use ends to be valid, in seconds since the Unix epoch.
    pub not_after_seconds: i64,
    /// How often changed files came into use.
    pub reloads: u64,
    /// How often the files could not be used; those before them stayed in use.
    pub failures: u64,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&files)?;
        Ok(Self(Arc::new(Kept {
            files,
            loaded: RwLock::new(Arc::new(loaded)),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// Looks at the files every ten seconds until `cancel`. Connections that are open keep what they began with.
    pub async fn watch(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            }
            let tls = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || tls.reload()).await {
                tracing::error!(%error, "looking at the TLS files");
            }
        }
    }

    /// Takes changed files into use. Broken ones change nothing but a counter.
    pub fn reload(&self) {
        match Loaded::read(&self.0.files) {
            Ok(loaded) if self.loaded().is_same(&loaded) => {}
            Ok(loaded) => {
                tracing::info!(not_after_seconds = loaded.not_after_seconds, "the TLS files changed");
                *self.0.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                self.0.reloads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(%error, "the TLS files can't be used; those read before stay in use");
                self.0.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// For metrics.
    pub fn status(&self) -> TlsStatus {
        TlsStatus {
            not_after_seconds: self.loaded().not_after_seconds,
            reloads: self.0.reloads.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
        }
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}
