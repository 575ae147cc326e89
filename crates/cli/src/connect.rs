//! The connection that all commands but `up` share.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueHint};
use pondage_client::{Client, Options, Tls};

use crate::{
    exit::{Failure, Result},
    places::parse_timeout,
};

/// Where a broker listens unless it is told otherwise.
pub(crate) const SERVER: &str = "http://127.0.0.1:7420";

/// The connect timeout of a command line: somebody waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the broker.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The address of a broker, or of several with commas between them
    #[arg(long, env = "PONDAGE_SERVER", default_value = SERVER, value_name = "URL", global = true,
          help_heading = "Global options")]
    pub(crate) server: String,

    /// The authority that signed the brokers' certificates, as PEM: connects with TLS
    #[arg(long, env = "PONDAGE_CERTIFICATE_AUTHORITY", value_name = "FILE", global = true,
          help_heading = "Global options", value_hint = ValueHint::FilePath)]
    pub(crate) certificate_authority: Option<PathBuf>,

    /// The certificate to show, as PEM: administration of brokers with TLS needs one
    #[arg(long, env = "PONDAGE_CLIENT_CERTIFICATE", value_name = "FILE", global = true,
          help_heading = "Global options", value_hint = ValueHint::FilePath)]
    pub(crate) client_certificate: Option<PathBuf>,

    /// That certificate's private key, as PEM
    #[arg(long, env = "PONDAGE_CLIENT_KEY", value_name = "FILE", global = true,
          help_heading = "Global options", value_hint = ValueHint::FilePath)]
    pub(crate) client_key: Option<PathBuf>,

    /// How long a request may take, all its tries included; publishing: how long a message is tried
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, global = true,
          help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn client(&self) -> Result<Client> {
        let tls = self.tls()?;
        let server = self.address(tls.is_some())?;
        Ok(Client::connect(server, Options { tls, ..self.options() }).await?)
    }

    fn options(&self) -> Options {
        let defaults = Options::default();
        let deadline = self.timeout.unwrap_or(defaults.deadline);
        Options {
            deadline,
            request_timeout: defaults.request_timeout.min(deadline),
            connect_timeout: CONNECT_TIMEOUT.min(deadline),
            ..defaults
        }
    }

    /// The certificates that the options name.
    pub(crate) fn tls(&self) -> Result<Option<Tls>> {
        let identity = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            (None, None) => None,
            _ => {
                return Err(Failure::usage("--client-certificate and --client-key need each other"));
            }
        };
        let Some(authority) = &self.certificate_authority else {
            return match identity {
                None => Ok(None),
                Some(_) => Err(Failure::usage("--client-certificate needs --certificate-authority")
                    .help("name the file of the authority that signed the brokers' certificates")),
            };
        };
        let tls = Tls::new(read(authority)?);
        Ok(Some(match identity {
            Some((certificate, key)) => tls.with_certificate(certificate, key),
            None => tls,
        }))
    }

    /// The address, in TLS if there are certificates: nobody who names them is to speak in the clear by mistake.
    pub(crate) fn address(&self, is_tls: bool) -> Result<&str> {
        let plain = self.server.split(',').any(|one| one.trim().starts_with("http://"));
        let encrypted = self.server.split(',').any(|one| one.trim().starts_with("https://"));
        match is_tls {
            true if self.server == SERVER => Ok(SERVER.trim_start_matches("http://")),
            true if plain => Err(Failure::usage(format!("{} is an address without TLS", self.server))
                .help("write https:// or leave out --certificate-authority")),
            false if encrypted => {
                Err(Failure::usage(format!("{} needs --certificate-authority", self.server))
                    .help("name the file of the authority that signed the brokers' certificates"))
            }
            _ => Ok(&self.server),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::usage(format!("can't read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: &str) -> Connection {
        Connection {
            server: server.to_owned(),
            certificate_authority: None,
            client_certificate: None,
            client_key: None,
            timeout: None,
        }
    }

    #[test]
    fn nobody_speaks_in_the_clear_by_mistake() {
        for (server, is_tls, expected) in [
            (SERVER, false, Some(SERVER)),
            (SERVER, true, Some("127.0.0.1:7420")),
            ("b1:7420,b2:7420", true, Some("b1:7420,b2:7420")),
            ("https://b1:7420", true, Some("https://b1:7420")),
            ("http://b1:7420", true, None),
            ("b1:7420, http://b2:7420", true, None),
            ("https://b1:7420", false, None),
        ] {
            assert_eq!(connection(server).address(is_tls).ok(), expected, "{server} {is_tls}");
        }
    }

    #[test]
    fn certificates_come_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).expect("written");
            Some(path)
        };
        let none = connection(SERVER);
        assert!(none.tls().expect("none").is_none());
        let authority = Connection { certificate_authority: file("ca"), ..none.clone() };
        assert!(authority.tls().expect("read").is_some());
        let whole =
            Connection { client_certificate: file("crt"), client_key: file("key"), ..authority.clone() };
        assert!(format!("{:?}", whole.tls().expect("read")).contains("true"));
        for wrong in [
            Connection { client_key: None, ..whole.clone() },
            Connection { client_certificate: None, ..whole.clone() },
            Connection { certificate_authority: None, ..whole.clone() },
            Connection { certificate_authority: Some(folder.path().join("nothing")), ..whole.clone() },
        ] {
            assert!(wrong.tls().is_err(), "{wrong:?}");
        }
    }
}
