//! The managed authority of a cluster, and what it signs: a certificate for all brokers, and one for administrators, of
//! whom the operator is the first. They live in secrets that go with the cluster, and are renewed long before they end;
//! brokers notice changed files by themselves.
//!
//! The authority's key never leaves its secret but into the operator. Nobody but brokers carries the peer name, so that
//! an administrator's key can't feed entries to a replica.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use pondage_client::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::validate::ValidatedCluster;
use crate::names::Key;

/// The name that only brokers' certificates carry.
const PEER_NAME: &str = "pondage-broker";
/// How long the authority is valid.
const AUTHORITY_DAYS: i64 = 3_650;
/// How long a certificate is valid.
const CERTIFICATE_DAYS: i64 = 90;
/// How long before its end a certificate is renewed.
const RENEW_DAYS: i64 = 30;
/// Clocks may differ: a certificate counts from so many days before it was made.
const BACKDATED_DAYS: i64 = 1;

/// When the certificate in a secret ends.
const NOT_AFTER: &str = "pondage.io/not-after";
/// The names that the certificate in a secret carries.
const NAMES: &str = "pondage.io/names";

/// The secret of the authority.
pub(crate) fn authority_secret(cluster: &Key) -> String {
    format!("{}-ca", cluster.name)
}

/// The secret that brokers mount.
pub(crate) fn broker_secret(cluster: &Key) -> String {
    format!("{}-broker-tls", cluster.name)
}

/// The secret for administrators.
pub(crate) fn admin_secret(cluster: &Key) -> String {
    format!("{}-admin-tls", cluster.name)
}

/// Everything that is signed, and the secrets that have to be written for it.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// The authority's certificate.
    pub(crate) authority: String,
    /// The administrator's certificate and key.
    pub(crate) admin: (String, String),
    /// When the first of the certificates ends.
    pub(crate) not_after: Timestamp,
    /// New or renewed ones.
    pub(crate) to_write: Vec<Secret>,
}

impl Certificates {
    /// What the operator believes and shows when it asks brokers.
    pub(crate) fn tls(&self) -> Tls {
        let (certificate, private) = &self.admin;
        Tls::new(self.authority.as_bytes()).with_certificate(certificate.as_bytes(), private.as_bytes())
    }
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The secret of the authority holds something else.
    #[error("the secret {secret} holds no authority: {problem}; delete it, and a new one is made")]
    Authority {
        /// Its name.
        secret: String,
        /// What is wrong.
        problem: String,
    },
    /// Signing failed.
    #[error("signing a certificate: {0}")]
    Signing(#[from] rcgen::Error),
}

/// The certificates of a cluster: those that are there as long as they are good, else new ones. `found` are its secrets,
/// by name.
pub(crate) fn certificates(
    cluster: &ValidatedCluster,
    found: &BTreeMap<String, Secret>,
    now: Timestamp,
) -> Result<Certificates, CertificateError> {
    let key = &cluster.key;
    let mut to_write = Vec::new();
    let name = authority_secret(key);
    let (authority, issuer) = match found.get(&name) {
        Some(secret) => kept_authority(key, &name, secret)?,
        None => {
            let (pair, issuer) = new_authority(key, now)?;
            to_write.push(secret(cluster, &name, &pair, &pair.0, &[], after(now, AUTHORITY_DAYS)));
            (pair.0, issuer)
        }
    };
    let mut not_after = after(now, AUTHORITY_DAYS);
    let mut current = |name: &str, names: &[String], purposes: &[ExtendedKeyUsagePurpose]| {
        if let Some((pair, end)) = found.get(name).and_then(|secret| kept(secret, &authority, names, now)) {
            not_after = not_after.min(end);
            return Ok(pair);
        }
        let pair = sign(&issuer, name, names, purposes, now)?;
        let end = after(now, CERTIFICATE_DAYS);
        not_after = not_after.min(end);
        to_write.push(secret(cluster, name, &pair, &authority, names, end));
        Ok::<_, CertificateError>(pair)
    };
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    current(&broker_secret(key), &broker_names(key), &both)?;
    let admin = current(&admin_secret(key), &[], &both[1..])?;
    Ok(Certificates { authority, admin, not_after, to_write })
}

/// What brokers answer to: each by its own name and all by the services', from inside of the namespace and outside.
fn broker_names(key: &Key) -> Vec<String> {
    let Key { namespace, name } = key;
    let headless = key.headless();
    let mut names = vec![PEER_NAME.to_owned(), "localhost".to_owned()];
    for base in [format!("*.{headless}"), headless, name.clone()] {
        for suffix in [String::new(), format!(".{namespace}"), format!(".{namespace}.svc")] {
            names.push(format!("{base}{suffix}"));
        }
        names.push(format!("{base}.{namespace}.svc.cluster.local"));
    }
    names
}

fn new_authority(
    key: &Key,
    now: Timestamp,
) -> Result<((String, String), Issuer<'static, KeyPair>), CertificateError> {
    let mut params = authority_params(key);
    set_validity(&mut params, now, AUTHORITY_DAYS);
    let pair = KeyPair::generate()?;
    let text = (params.self_signed(&pair)?.pem(), pair.serialize_pem());
    Ok((text, Issuer::new(params, pair)))
}

/// What an issuer needs of its own certificate follows from the cluster's name, so that the key alone is read back.
fn authority_params(key: &Key) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("{}.{} authority", key.name, key.namespace));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn kept_authority(
    key: &Key,
    name: &str,
    secret: &Secret,
) -> Result<(String, Issuer<'static, KeyPair>), CertificateError> {
    let wrong =
        |problem: &str| CertificateError::Authority { secret: name.to_owned(), problem: problem.to_owned() };
    let (certificate, private) = pair_of(secret).ok_or_else(|| wrong("tls.crt or tls.key is missing"))?;
    let pair = KeyPair::from_pem(&private).map_err(|error| wrong(&error.to_string()))?;
    Ok((certificate, Issuer::new(authority_params(key), pair)))
}

/// A certificate that is good for a while yet, and its end.
fn kept(
    secret: &Secret,
    authority: &str,
    names: &[String],
    now: Timestamp,
) -> Option<((String, String), Timestamp)> {
    let annotations = secret.metadata.annotations.as_ref()?;
    let end: Timestamp = annotations.get(NOT_AFTER)?.parse().ok()?;
    let is_ours = text(secret, "ca.crt")? == authority && annotations.get(NAMES)? == &names.join(",");
    (is_ours && after(now, RENEW_DAYS) < end).then_some((pair_of(secret)?, end))
}

fn sign(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    names: &[String],
    purposes: &[ExtendedKeyUsagePurpose],
    now: Timestamp,
) -> Result<(String, String), CertificateError> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = purposes.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, CERTIFICATE_DAYS);
    let pair = KeyPair::generate()?;
    Ok((params.signed_by(&pair, issuer)?.pem(), pair.serialize_pem()))
}

fn secret(
    cluster: &ValidatedCluster,
    name: &str,
    (certificate, private): &(String, String),
    authority: &str,
    names: &[String],
    not_after: Timestamp,
) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = [("tls.crt", certificate.as_str()), ("tls.key", private), ("ca.crt", authority)];
    let mut metadata = cluster.key.owned(name.to_owned(), &cluster.owner);
    let said = [(NOT_AFTER, not_after.to_string()), (NAMES, names.join(","))];
    metadata.annotations = Some(said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), bytes(value))).collect()),
        ..Secret::default()
    }
}

fn pair_of(secret: &Secret) -> Option<(String, String)> {
    Some((text(secret, "tls.crt")?, text(secret, "tls.key")?))
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn after(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX)
}

/// From yesterday until so many days from now.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(after(now, -BACKDATED_DAYS));
    params.not_after = day(after(now, days));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::validate::tests::cluster;

    fn by_name(secrets: &[Secret]) -> BTreeMap<String, Secret> {
        let named = |secret: &Secret| (secret.metadata.name.clone().expect("a name"), secret.clone());
        secrets.iter().map(named).collect()
    }

    fn at(day: i64) -> Timestamp {
        after("2026-11-22T12:00:00Z".parse().expect("a time"), day)
    }

    #[test]
    fn what_is_good_is_kept_and_what_ends_soon_is_renewed() {
        let cluster = cluster(json!({})).expect("valid");
        let first = certificates(&cluster, &BTreeMap::new(), at(0)).expect("signed");
        let mut found = by_name(&first.to_write);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["main-admin-tls", "main-broker-tls", "main-ca"]);

        let later = certificates(&cluster, &found, at(59)).expect("kept");
        assert!(later.to_write.is_empty());
        assert_eq!((later.authority, later.admin), (first.authority.clone(), first.admin.clone()));

        let renewed = certificates(&cluster, &found, at(61)).expect("signed");
        let names: Vec<String> = by_name(&renewed.to_write).into_keys().collect();
        assert_eq!(names, ["main-admin-tls", "main-broker-tls"]);
        assert_eq!(renewed.authority, first.authority);
        assert_eq!(renewed.not_after, at(61 + CERTIFICATE_DAYS));

        // Of another authority, or for other names: worth nothing.
        found.remove("main-ca");
        assert_eq!(certificates(&cluster, &found, at(1)).expect("signed").to_write.len(), 3);
        let mut found = by_name(&first.to_write);
        let broker = found.get_mut("main-broker-tls").expect("there");
        broker.metadata.annotations.as_mut().expect("said").insert(NAMES.to_owned(), "other".to_owned());
        assert_eq!(certificates(&cluster, &found, at(1)).expect("signed").to_write.len(), 1);
    }

    #[test]
    fn an_authority_that_is_none_is_an_error_that_names_the_secret() {
        let cluster = cluster(json!({})).expect("valid");
        let first = certificates(&cluster, &BTreeMap::new(), at(0)).expect("signed");
        let mut found = by_name(&first.to_write);
        let data = found.get_mut("main-ca").and_then(|secret| secret.data.as_mut()).expect("there");
        data.insert("tls.key".to_owned(), ByteString(b"nothing".to_vec()));
        let error = certificates(&cluster, &found, at(0)).expect_err("no key");
        assert!(error.to_string().contains("main-ca"), "{error}");
    }

    #[test]
    fn only_brokers_carry_the_peer_name() {
        let names = broker_names(&Key { namespace: "shop".to_owned(), name: "main".to_owned() });
        for name in
            [PEER_NAME, "*.main-brokers.shop.svc", "main.shop.svc", "main", "main.shop.svc.cluster.local"]
        {
            assert!(names.iter().any(|have| have == name), "{name}");
        }
    }
}
