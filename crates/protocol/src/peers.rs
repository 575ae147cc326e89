//! Frames of the stream between two brokers, written in place: what a message's encoder appends is what the connection
//! sends, without another copy. Reading needs nothing of its own: [`PeerFrame::messages`](v1::PeerFrame) is a part of
//! what came in.

use bytes::Bytes;
use prost::Message;

use crate::v1;

/// The method that the frames are sent to.
pub const STREAM_PATH: &str = "/pondage.v1.Peers/Stream";

/// gRPC's own: not compressed, and the length of what follows.
const GRPC_HEADER_BYTES: usize = 5;
/// Of `PeerFrame.messages`: field 2, bytes.
const MESSAGES_TAG: u8 = 2 << 3 | 2;
/// The tag, and the length as a varint of fixed width so that it can be written last.
const FIELD_HEADER_BYTES: usize = 1 + 4;
/// Lengths that the varint holds.
const MESSAGES_BYTES_MAX: usize = (1 << 28) - 1;

/// The first frame of a stream.
#[must_use]
pub fn opening_frame(opening: v1::StreamOpening) -> Bytes {
    let frame = v1::PeerFrame { opening: Some(opening), messages: Bytes::new() };
    let mut bytes = vec![0; GRPC_HEADER_BYTES];
    frame.encode_raw(&mut bytes);
    with_grpc_header(bytes)
}

/// A frame of messages that is being written.
#[derive(Debug)]
pub struct MessagesFrame(Vec<u8>);

impl MessagesFrame {
    /// Empty, with room for messages of about `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(GRPC_HEADER_BYTES + FIELD_HEADER_BYTES + bytes);
        frame.resize(GRPC_HEADER_BYTES + FIELD_HEADER_BYTES, 0);
        Self(frame)
    }

    /// Where encoders append. What is there already must stay.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The frame as the connection sends it.
    ///
    /// # Panics
    /// With 256 MiB or more, which no sender packs.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let Self(mut bytes) = self;
        let length = bytes.len() - GRPC_HEADER_BYTES - FIELD_HEADER_BYTES;
        assert!(length <= MESSAGES_BYTES_MAX, "a frame of {length} bytes");
        bytes[GRPC_HEADER_BYTES] = MESSAGES_TAG;
        for (index, byte) in bytes[GRPC_HEADER_BYTES + 1..][..4].iter_mut().enumerate() {
            let more = if index < 3 { 0x80 } else { 0 };
            *byte = (length >> (7 * index)) as u8 & 0x7f | more;
        }
        with_grpc_header(bytes)
    }
}

fn with_grpc_header(mut bytes: Vec<u8>) -> Bytes {
    let length = bytes.len() - GRPC_HEADER_BYTES;
    let length = u32::try_from(length).expect("frames are far below 4 GiB");
    bytes[1..GRPC_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framed: &Bytes) -> v1::PeerFrame {
        assert_eq!(framed[0], 0);
        let length = u32::from_be_bytes([framed[1], framed[2], framed[3], framed[4]]);
        assert_eq!(length as usize, framed.len() - GRPC_HEADER_BYTES);
        v1::PeerFrame::decode(framed.slice(GRPC_HEADER_BYTES..)).expect("a frame")
    }

    #[test]
    fn frames_are_those_of_the_generated_code() {
        let introduction = v1::Introduction { protocol_version: 1, ..v1::Introduction::default() };
        let opening = v1::StreamOpening { introduction: Some(introduction), lane: 2, dial: 3 };
        let frame = read(&opening_frame(opening.clone()));
        assert_eq!(frame, v1::PeerFrame { opening: Some(opening), messages: Bytes::new() });

        for length in [0, 1, 127, 128, 16_383, 16_384, 3 << 20] {
            let messages = vec![7; length];
            let mut frame = MessagesFrame::with_capacity(10);
            frame.out().extend_from_slice(&messages);
            let framed = frame.finish();
            let expected = v1::PeerFrame { opening: None, messages: messages.into() };
            assert_eq!(read(&framed), expected, "{length}");
        }
    }

    #[test]
    fn messages_that_were_read_are_parts_of_the_frame() {
        let mut frame = MessagesFrame::with_capacity(0);
        frame.out().extend_from_slice(b"messages");
        let framed = frame.finish();
        let messages = read(&framed).messages.as_ptr_range();
        let all = framed.as_ptr_range();
        assert!(all.start < messages.start && messages.end <= all.end);
    }
}
