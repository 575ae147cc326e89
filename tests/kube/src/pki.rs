//! The certificates of a control plane and its nodes, made anew for each.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Somebody who shows a certificate.
pub(crate) struct Holder {
    /// What its files are called.
    pub file: String,
    /// Its user name.
    pub user: String,
    /// Its group.
    pub group: Option<&'static str>,
    /// Where it serves, if it does.
    pub addresses: Vec<Ipv4Addr>,
}

impl Holder {
    pub(crate) fn client(file: &str, user: &str, group: Option<&'static str>) -> Self {
        Self { file: file.to_owned(), user: user.to_owned(), group, addresses: Vec::new() }
    }
}

/// Writes the authority, what the API server shows at its addresses, what an administrator and the others show, and the
/// key of service accounts.
pub(crate) fn write(folder: &Path, addresses: &[Ipv4Addr], others: &[Holder]) -> Result<()> {
    let authority = authority(folder, "authority")?;
    let server = Holder {
        file: "apiserver".to_owned(),
        user: "kube-apiserver".to_owned(),
        group: None,
        addresses: addresses.to_vec(),
    };
    issue(folder, &server, &authority)?;
    let administrator = Holder::client("administrator", "administrator", Some("system:masters"));
    for holder in [&administrator].into_iter().chain(others) {
        issue(folder, holder, &authority)?;
    }
    let accounts = KeyPair::generate()?;
    put(folder, "accounts.key", &accounts.serialize_pem())?;
    put(folder, "accounts.pub", &accounts.public_key_pem())
}

/// Writes the authority by which extensions of the API know the API server, and what it shows them: another than that of
/// the clients, or any client could call itself the API server.
pub(crate) fn write_aggregation(folder: &Path) -> Result<()> {
    let authority = authority(folder, "aggregation-authority")?;
    issue(folder, &Holder::client("aggregation", "aggregation", None), &authority)
}

fn authority(folder: &Path, name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("a test's {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    put(folder, &format!("{name}.crt"), &authority.pem())?;
    put(folder, &format!("{name}.key"), &authority.key().serialize_pem())?;
    Ok(authority)
}

fn issue(folder: &Path, holder: &Holder, authority: &CertifiedIssuer<'_, KeyPair>) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, &holder.user);
    if let Some(group) = holder.group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if !holder.addresses.is_empty() {
        for name in ["localhost", "kubernetes.default.svc"] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        let addresses = holder.addresses.iter().map(|address| SanType::IpAddress((*address).into()));
        params.subject_alt_names.extend(addresses);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    put(folder, &format!("{}.crt", holder.file), &certificate.pem())?;
    put(folder, &format!("{}.key", holder.file), &key.serialize_pem())
}

fn put(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())
}
