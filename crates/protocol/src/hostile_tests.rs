//! Arbitrary bytes are refused or read, and never more than that.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use crate::{
    admin::{Applied, Apply, Cluster, Delete, Get, List, WatchEvent},
    consume::Steps,
    delivery::Delivery,
    failure::{Failure, from_status},
    groups::{GetOffsets, SetOffsets},
    members::{JoinSteps, Membership},
    messages::{Browse, MessageRun, Publish, Receive},
    observe::{GroupObservation, Observe},
    resources::Resource,
    settle::{SettleResult, settle_items},
    v1,
};

fn read<W: Message + Default, D>(bytes: &Bytes, convert: impl FnOnce(W) -> D) {
    if let Ok(message) = W::decode(bytes.clone()) {
        let _ = convert(message);
    }
}

fn read_as_everything(bytes: &Bytes) {
    read::<v1::PublishRequest, _>(bytes, Publish::try_from);
    read::<v1::ReceiveRequest, _>(bytes, Receive::try_from);
    read::<v1::BrowseRequest, _>(bytes, Browse::try_from);
    read::<v1::MessageRun, _>(bytes, MessageRun::try_from);
    read::<v1::SettleRequest, _>(bytes, |request| settle_items(request.items));
    read::<v1::SettleResult, _>(bytes, SettleResult::try_from);
    read::<v1::ConsumeRequest, _>(bytes, |request| Steps::default().next(request));
    read::<v1::Delivery, _>(bytes, Delivery::try_from);
    read::<v1::GetOffsetsRequest, _>(bytes, GetOffsets::try_from);
    read::<v1::SetOffsetsRequest, _>(bytes, SetOffsets::try_from);
    read::<v1::GetMembersResponse, _>(bytes, Membership::try_from);
    read::<v1::ObserveRequest, _>(bytes, Observe::try_from);
    read::<v1::ObserveResponse, _>(bytes, GroupObservation::try_from);
    read::<v1::JoinRequest, _>(bytes, |request| JoinSteps::default().next(request));
    read::<v1::ApplyRequest, _>(bytes, Apply::try_from);
    read::<v1::ApplyResponse, _>(bytes, Applied::try_from);
    read::<v1::GetRequest, _>(bytes, Get::try_from);
    read::<v1::ListRequest, _>(bytes, List::try_from);
    read::<v1::DeleteRequest, _>(bytes, Delete::try_from);
    read::<v1::WatchResponse, _>(bytes, WatchEvent::try_from);
    read::<v1::DescribeClusterResponse, _>(bytes, Cluster::try_from);
    read::<v1::Resource, _>(bytes, Resource::try_from);
    read::<v1::Error, _>(bytes, Failure::from);
    let _ = from_status(&tonic::Status::with_details(tonic::Code::Aborted, "x", bytes.clone()));
}

/// A field of any number and type, nested a few deep: bytes that get further than noise does.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = 1u8..15;
    let leaf = prop_oneof![
        (number.clone(), any::<u64>()).prop_map(|(number, value)| {
            let mut out = vec![number << 3];
            prost::encoding::encode_varint(value, &mut out);
            out
        }),
        (number.clone(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(number, content)| delimited(number, &content)),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        (1u8..15, prop::collection::vec(inner, 0..4))
            .prop_map(|(number, fields)| delimited(number, &fields.concat()))
    })
}

fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

proptest! {
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&noise.into());
    }

    #[test]
    fn fields_never_panic(fields in prop::collection::vec(field(), 0..8)) {
        read_as_everything(&fields.concat().into());
    }
}
