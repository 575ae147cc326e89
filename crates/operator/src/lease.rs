//! One operator acts at a time: it holds a Lease of the API server.
//!
//! Whoever holds it renews it; whoever does not looks whether it was renewed since the last look, by its own clock, and
//! takes it when it was not for the whole of its time. No clock is compared with another one's. An operator that can't
//! renew ends before another one may take over, and all that two of them could do at once is safe anyway: the identity
//! of a cluster is written with a precondition, pods are deleted by uid, and the brokers order what they are told.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};

/// The lease's name.
const NAME: &str = "pondage-operator";
/// How long a lease counts that nobody renews.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// When whoever can't renew gives up.
const GIVE_UP: Duration = Duration::from_secs(12);
/// How often others look.
const LOOK: Duration = Duration::from_secs(2);

/// The right to act.
#[derive(Debug)]
pub(crate) struct Leadership {
    api: Api<Lease>,
    identity: String,
    lease: Lease,
}

/// Whether to take a lease that somebody holds.
#[derive(Debug, Default)]
struct Patience {
    /// What was seen last, and since when.
    seen: Option<(String, Instant)>,
}

impl Patience {
    /// Looks at a lease; true if it may be taken.
    fn look(&mut self, lease: &Lease, identity: &str, now: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == identity {
            return true;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or(0).clamp(1, 3_600);
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.seen = Some((version, now));
                now
            }
        };
        now - since >= Duration::from_secs(u64::from(seconds.unsigned_abs()))
    }
}

impl Leadership {
    /// Waits until this operator leads.
    pub(crate) async fn gain(client: Client, namespace: &str, identity: &str) -> Self {
        let api: Api<Lease> = Api::namespaced(client, namespace);
        let mut patience = Patience::default();
        let mut waits = false;
        loop {
            match take(&api, identity, &mut patience).await {
                Ok(Some(lease)) => return Self { api, identity: identity.to_owned(), lease },
                Ok(None) if waits => {}
                Ok(None) => {
                    waits = true;
                    tracing::info!("another operator leads; this one waits");
                }
                Err(error) => tracing::warn!(%error, "the lease can't be taken"),
            }
            sleep(LOOK).await;
        }
    }

    /// Renews until it is lost, and says why.
    pub(crate) async fn keep(mut self) -> String {
        let mut renewed = Instant::now();
        loop {
            sleep(RENEW).await;
            let began = Instant::now();
            let left = GIVE_UP.saturating_sub(renewed.elapsed());
            let mut lease = self.lease.clone();
            lease.spec = Some(spec(&self.identity, self.lease.spec.as_ref()));
            let params = PostParams::default();
            let renewing = self.api.replace(NAME, &params, &lease);
            match timeout(left.max(Duration::from_secs(1)), renewing).await {
                Ok(Ok(lease)) => (self.lease, renewed) = (lease, began),
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                    return "another operator took the lease".to_owned();
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease can't be renewed"),
                Err(_) => tracing::warn!("the API server does not answer: the lease can't be renewed"),
            }
            if renewed.elapsed() >= GIVE_UP {
                return "the lease could not be renewed in time".to_owned();
            }
        }
    }

    /// Gives it up, so that another one need not wait.
    pub(crate) async fn release(client: Client, namespace: &str, identity: &str) {
        let api: Api<Lease> = Api::namespaced(client, namespace);
        let releasing = async {
            let mut lease = api.get(NAME).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(identity) {
                spec.holder_identity = None;
                api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        // Whoever does not get through leaves the others waiting for the lease's end.
        drop(timeout(Duration::from_secs(2), releasing).await);
    }
}

async fn take(
    api: &Api<Lease>,
    identity: &str,
    patience: &mut Patience,
) -> Result<Option<Lease>, kube::Error> {
    let params = PostParams::default();
    let taken = match api.get_opt(NAME).await? {
        None => {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            api.create(&params, &Lease { metadata, spec: Some(spec(identity, None)) }).await
        }
        Some(mut lease) => {
            if !patience.look(&lease, identity, Instant::now()) {
                return Ok(None);
            }
            lease.spec = Some(spec(identity, lease.spec.as_ref()));
            api.replace(NAME, &params, &lease).await
        }
    };
    match taken {
        Ok(lease) => Ok(Some(lease)),
        // Somebody was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

fn spec(identity: &str, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
    let was_ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(identity));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
        acquire_time: before.filter(|_| was_ours).map_or(Some(now.clone()), |spec| spec.acquire_time.clone()),
        renew_time: Some(now),
        lease_transitions: Some(transitions.saturating_add(i32::from(!was_ours))),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec(holder, None)) }
    }

    #[test]
    fn a_lease_is_taken_only_after_it_was_not_renewed_for_the_whole_of_its_time() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(patience.look(&lease("", "1"), "me", start), "nobody holds it");
        assert!(patience.look(&lease("me", "1"), "me", start), "it is ours from before");
        assert!(!patience.look(&lease("other", "1"), "me", start));
        assert!(!patience.look(&lease("other", "1"), "me", after(14)));
        assert!(!patience.look(&lease("other", "2"), "me", after(15)), "it was renewed");
        assert!(!patience.look(&lease("other", "2"), "me", after(29)));
        assert!(patience.look(&lease("other", "2"), "me", after(30)));
    }
}
