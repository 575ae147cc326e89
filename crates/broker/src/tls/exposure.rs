//! Plaintext only where nobody else listens.

use std::{fmt, net::SocketAddr};

/// How clients and brokers reach the listener, said at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// With TLS.
    Encrypted,
    /// Without, and only from this machine: every process on it is trusted with everything.
    PlaintextLoopback,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => "connections are encrypted",
            Self::PlaintextLoopback => {
                "connections are not encrypted, and every process of this machine may act as a broker"
            }
        })
    }
}

/// The listener would take plaintext from other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} can be reached from other machines and there is no TLS: configure certificate, key and authority, or \
     listen on 127.0.0.1 or [::1]"
)]
pub struct Exposed {
    /// Where it was to listen.
    pub address: SocketAddr,
}

/// Whether a member of a cluster may listen there.
///
/// # Errors
/// [`Exposed`] without TLS on an address that is not loopback.
pub fn check_exposure(listen: SocketAddr, has_tls: bool) -> Result<Notice, Exposed> {
    match (has_tls, listen.ip().to_canonical().is_loopback()) {
        (true, _) => Ok(Notice::Encrypted),
        (false, true) => Ok(Notice::PlaintextLoopback),
        (false, false) => Err(Exposed { address: listen }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_stays_on_the_machine() {
        for (listen, has_tls, expected) in [
            ("127.0.0.1:1", false, Ok(Notice::PlaintextLoopback)),
            ("127.9.9.9:1", false, Ok(Notice::PlaintextLoopback)),
            ("[::1]:1", false, Ok(Notice::PlaintextLoopback)),
            ("[::ffff:127.0.0.1]:1", false, Ok(Notice::PlaintextLoopback)),
            ("0.0.0.0:1", false, Err(())),
            ("[::]:1", false, Err(())),
            ("10.0.0.1:1", false, Err(())),
            ("[::ffff:10.0.0.1]:1", false, Err(())),
            ("0.0.0.0:1", true, Ok(Notice::Encrypted)),
            ("127.0.0.1:1", true, Ok(Notice::Encrypted)),
        ] {
            let address = listen.parse().expect("an address");
            assert_eq!(check_exposure(address, has_tls).map_err(|_| ()), expected, "{listen} {has_tls}");
        }
    }
}
