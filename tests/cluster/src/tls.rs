//! Certificates of a run: an authority, one certificate for all brokers, one for an administrator.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use pondage_client::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::network::Host;

/// The name by which brokers know each other.
const PEER_NAME: &str = "pondage-broker";

/// The files of one who shows a certificate.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The chain, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// Whom it believes, as PEM.
    pub ca: PathBuf,
}

impl Certificates {
    /// The same for a client.
    ///
    /// # Errors
    /// If a file can't be read.
    pub(crate) fn for_client(&self) -> Result<Tls> {
        let Self { certificate, key, ca } = self;
        Ok(Tls::new(fs::read(ca)?).with_certificate(fs::read(certificate)?, fs::read(key)?))
    }
}

/// Makes an authority and two certificates in `folder`: that of the brokers on `hosts`, and that of an administrator.
///
/// # Errors
/// If the files can't be written.
pub(crate) fn create(folder: &Path, hosts: &[Host]) -> Result<(Certificates, Certificates)> {
    fs::create_dir_all(folder)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let ca = folder.join("ca.pem");
    fs::write(&ca, authority.pem())?;

    let issue = |name: &str, mut params: CertificateParams, purposes| -> Result<Certificates> {
        params.extended_key_usages = purposes;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key_pair = KeyPair::generate()?;
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}.key"));
        fs::write(&certificate, params.signed_by(&key_pair, &issuer)?.pem())?;
        fs::write(&key, key_pair.serialize_pem())?;
        Ok(Certificates { certificate, key, ca: ca.clone() })
    };
    let mut of_brokers = CertificateParams::new(vec![PEER_NAME.to_owned()])?;
    of_brokers.subject_alt_names.extend(hosts.iter().map(|host| SanType::IpAddress(host.address().into())));
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let brokers = issue("broker", of_brokers, both)?;
    let of_administrator = CertificateParams::new(vec!["administrator".to_owned()])?;
    let administrator = issue("administrator", of_administrator, vec![ExtendedKeyUsagePurpose::ClientAuth])?;
    Ok((brokers, administrator))
}
