//! Where the brokers of one machine listen.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
};

use super::record::{Record, RecordedBroker};
use crate::exit::{Failure, Result};

/// Ports from one broker to the next: one for clients and brokers, one for metrics.
const STEP: u16 = 2;

/// Brings the record to `count` brokers: those that are there keep their places. The first one listens where it is
/// asked to, the others behind it; port 0 takes free ones.
pub(super) fn assign(record: &mut Record, count: usize, listen: SocketAddr, http: SocketAddr) -> Result<()> {
    let known = record.brokers.len();
    if count < known {
        let what = format!("--brokers {count}: the cluster of this data folder has {known} brokers");
        return Err(Failure::usage(what).help(format!(
            "start it with --brokers {known}, then: pondage cluster drain BROKER --everything --wait"
        )));
    }
    let mut taken: BTreeSet<SocketAddr> =
        record.brokers.iter().flat_map(|broker| [broker.listen, broker.http]).collect();
    // Held until all are known, so that no two brokers get the same one.
    let mut held = Vec::new();
    for index in known..count {
        let mut place = |base: SocketAddr, what: &str| -> Result<SocketAddr> {
            let address = match base.port() {
                0 => free(base, &mut held, &taken)?,
                port => SocketAddr::new(base.ip(), nth_port(port, index).ok_or_else(|| beyond(what, index))?),
            };
            if !taken.insert(address) {
                let what = format!("two brokers would have to listen on {address}");
                return Err(Failure::usage(what).help(format!(
                    "broker 2 and those behind it listen {STEP} ports further on each: choose --listen and --http apart"
                )));
            }
            Ok(address)
        };
        let listen = place(listen, "--listen")?;
        let http = place(http, "--http")?;
        record.brokers.push(RecordedBroker { listen, http, id: None });
    }
    Ok(())
}

fn nth_port(first: u16, index: usize) -> Option<u16> {
    first.checked_add(STEP.checked_mul(u16::try_from(index).ok()?)?)
}

fn beyond(what: &str, index: usize) -> Failure {
    Failure::usage(format!("{what}: broker {} would listen behind the last port", index + 1))
}

fn free(base: SocketAddr, held: &mut Vec<TcpListener>, taken: &BTreeSet<SocketAddr>) -> Result<SocketAddr> {
    loop {
        let listener = TcpListener::bind(base)
            .map_err(|error| Failure::failed(format!("no free port on {}: {error}", base.ip())))?;
        let address = listener.local_addr()?;
        held.push(listener);
        if !taken.contains(&address) {
            return Ok(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::Uuid;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ports(record: &Record) -> Vec<(u16, u16)> {
        record.brokers.iter().map(|broker| (broker.listen.port(), broker.http.port())).collect()
    }

    #[test]
    fn brokers_listen_one_behind_the_other_and_keep_their_places() {
        let mut record = Record::new(Uuid([1; 16]));
        let (listen, http) = (address("127.0.0.1:7420"), address("127.0.0.1:7421"));
        assign(&mut record, 3, listen, http).expect("there is room");
        assert_eq!(ports(&record), [(7420, 7421), (7422, 7423), (7424, 7425)]);
        let before = record.clone();
        assign(&mut record, 3, address("127.0.0.1:9000"), http).expect("nothing to do");
        assert_eq!(record, before);
        assign(&mut record, 4, listen, http).expect("there is room");
        assert_eq!(ports(&record)[3], (7426, 7427));
        assert!(assign(&mut record, 2, listen, http).is_err());
    }

    #[test]
    fn free_ports_differ_and_crowded_ones_are_refused() {
        let mut record = Record::new(Uuid([1; 16]));
        let any = address("127.0.0.1:0");
        assign(&mut record, 9, any, any).expect("there are free ports");
        let all: BTreeSet<u16> =
            ports(&record).into_iter().flat_map(|(listen, http)| [listen, http]).collect();
        assert_eq!(all.len(), 18);
        for (listen, http) in [("127.0.0.1:7420", "127.0.0.1:7422"), ("127.0.0.1:65534", "127.0.0.1:1")] {
            let mut record = Record::new(Uuid([1; 16]));
            assert!(assign(&mut record, 3, address(listen), address(http)).is_err(), "{listen} {http}");
        }
    }
}
