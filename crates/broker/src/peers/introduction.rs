//! Who speaks: what a broker says of itself at the begin of a stream and with every call.

use bytes::Bytes;
use pondage_model::{BrokerId, Incarnation, Member, Uuid, limits};
use pondage_protocol::v1;
use tonic::Status;

/// The encoding of messages between brokers. A change that older brokers can't read gets a new number.
pub(super) const PROTOCOL_VERSION: u32 = 1;

/// A start of a broker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The cluster that it belongs to.
    pub cluster: Uuid,
    /// Its volume.
    pub volume: Uuid,
    /// How often that volume has been started.
    pub incarnation: Incarnation,
    /// The random value of this start: tells it from a copy of the disk.
    pub nonce: Uuid,
    /// Its number in the catalog, once it is registered.
    pub broker: Option<BrokerId>,
    /// Where it listens: host:port.
    pub address: String,
}

impl Introduction {
    /// Its name among the replicas of a shard, once it is registered.
    pub fn member(&self) -> Option<Member> {
        self.broker.map(|broker| Member { broker, incarnation: self.incarnation })
    }

    pub(super) fn to_wire(&self, intended_volume: Option<Uuid>) -> v1::Introduction {
        v1::Introduction {
            protocol_version: PROTOCOL_VERSION,
            cluster: uuid_bytes(self.cluster),
            volume: uuid_bytes(self.volume),
            incarnation: self.incarnation.get(),
            nonce: uuid_bytes(self.nonce),
            broker: self.broker.map(BrokerId::get),
            address: self.address.clone(),
            intended_volume: intended_volume.map(uuid_bytes).unwrap_or_default(),
        }
    }

    /// Reads what somebody said of itself, and checks that it wants to speak to us.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if it looks for somebody else, and only then.
    pub(super) fn meant_for(own: &Self, said: Option<v1::Introduction>) -> Result<Self, Status> {
        let said = said.ok_or_else(|| Status::invalid_argument("no introduction"))?;
        if said.protocol_version != PROTOCOL_VERSION {
            return Err(Status::unimplemented(format!(
                "version {} of the brokers' protocol is not spoken here; supported: {PROTOCOL_VERSION}",
                said.protocol_version
            )));
        }
        let cluster = uuid(&said.cluster)?;
        if cluster != own.cluster {
            return Err(Status::failed_precondition(format!(
                "this is a broker of cluster {}, not of {cluster}",
                own.cluster
            )));
        }
        if !said.intended_volume.is_empty() {
            let intended = uuid(&said.intended_volume)?;
            if intended != own.volume {
                return Err(Status::failed_precondition(format!(
                    "volume {} is here, not {intended}",
                    own.volume
                )));
            }
        }
        if said.address.len() > limits::ADDRESS_BYTES_MAX {
            return Err(Status::invalid_argument("the address is too long"));
        }
        Ok(Self {
            cluster,
            volume: uuid(&said.volume)?,
            incarnation: Incarnation(said.incarnation),
            nonce: uuid(&said.nonce)?,
            broker: said.broker.map(BrokerId),
            address: said.address,
        })
    }
}

/// What a call is about. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CallKind {
    /// Between the nodes of the consensus.
    Consensus = 1,
    /// A request of a client, or about one, to the leader of its shard.
    Request = 4,
}

impl CallKind {
    /// The kind with this number.
    pub(super) const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Consensus),
            4 => Some(Self::Request),
            _ => None,
        }
    }
}

pub(super) fn uuid_bytes(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(&uuid.0)
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, Status> {
    bytes.try_into().map(Uuid).map_err(|_| Status::invalid_argument("an identity has 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction() -> Introduction {
        Introduction {
            cluster: Uuid([1; 16]),
            volume: Uuid([2; 16]),
            incarnation: Incarnation(3),
            nonce: Uuid([4; 16]),
            broker: Some(BrokerId(5)),
            address: "there:1".to_owned(),
        }
    }

    #[test]
    fn an_introduction_survives_the_wire() {
        let said = introduction();
        let own = Introduction { volume: Uuid([9; 16]), ..introduction() };
        for intended in [None, Some(own.volume)] {
            let heard = Introduction::meant_for(&own, Some(said.to_wire(intended)));
            assert_eq!(heard.expect("meant for us"), said);
        }
    }

    #[test]
    fn who_means_somebody_else_is_told_so_and_lies_are_refused() {
        let own = introduction();
        let good = introduction().to_wire(None);
        let long = "a".repeat(limits::ADDRESS_BYTES_MAX + 1);
        let cases = [
            (None, tonic::Code::InvalidArgument),
            (Some(v1::Introduction { protocol_version: 2, ..good.clone() }), tonic::Code::Unimplemented),
            (
                Some(v1::Introduction { cluster: uuid_bytes(Uuid([7; 16])), ..good.clone() }),
                tonic::Code::FailedPrecondition,
            ),
            (
                Some(v1::Introduction { intended_volume: uuid_bytes(Uuid([7; 16])), ..good.clone() }),
                tonic::Code::FailedPrecondition,
            ),
            (
                Some(v1::Introduction { intended_volume: Bytes::from_static(b"short"), ..good.clone() }),
                tonic::Code::InvalidArgument,
            ),
            (Some(v1::Introduction { cluster: Bytes::new(), ..good.clone() }), tonic::Code::InvalidArgument),
            (
                Some(v1::Introduction { volume: Bytes::from_static(&[0; 17]), ..good.clone() }),
                tonic::Code::InvalidArgument,
            ),
            (Some(v1::Introduction { nonce: Bytes::new(), ..good.clone() }), tonic::Code::InvalidArgument),
            (Some(v1::Introduction { address: long, ..good }), tonic::Code::InvalidArgument),
        ];
        for (said, code) in cases {
            let refused = Introduction::meant_for(&own, said.clone()).expect_err("refused");
            assert_eq!(refused.code(), code, "{said:?}");
        }
    }

    #[test]
    fn kinds_are_known_by_their_numbers() {
        for kind in [CallKind::Consensus, CallKind::Request] {
            assert_eq!(CallKind::from_number(kind as u32), Some(kind));
        }
        assert_eq!(CallKind::from_number(0), None);
        assert_eq!(CallKind::from_number(5), None);
    }
}
