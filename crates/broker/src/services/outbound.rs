//! What a session sends: bounded by messages and by bytes, so that a slow reader pauses the session and nothing
//! else.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::Status;

/// Responses that wait to be sent.
const WAITING_MAX: usize = 256;
/// Bytes of bodies that wait to be sent; one larger body goes alone.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Room is counted in these.
const ROOM_UNIT_BYTES: usize = 1 << 10;
const ROOM_UNITS: usize = WAITING_BYTES_MAX / ROOM_UNIT_BYTES;

type Waiting<T> = (Result<T, Status>, Option<OwnedSemaphorePermit>);

/// The session's end: the receiver is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The sending side.
#[derive(Debug)]
pub(super) struct Outbound<T> {
    sender: mpsc::Sender<Waiting<T>>,
    room: Arc<Semaphore>,
}

impl<T> Clone for Outbound<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), room: Arc::clone(&self.room) }
    }
}

impl<T> Outbound<T> {
    /// Both sides.
    pub(super) fn channel() -> (Self, OutboundStream<T>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender, room: Arc::new(Semaphore::new(ROOM_UNITS)) }, OutboundStream(receiver))
    }

    /// Sends a response without a body.
    pub(super) async fn send(&self, response: T) -> Result<(), Gone> {
        self.sender.send((Ok(response), None)).await.map_err(|_| Gone)
    }

    /// Sends a response with a body of so many bytes, once there is room.
    pub(super) async fn send_body(&self, response: T, bytes: usize) -> Result<(), Gone> {
        let units = (bytes / ROOM_UNIT_BYTES + 1).min(ROOM_UNITS);
        let units = u32::try_from(units).expect("a few thousand units");
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(units) => room.map_err(|_| Gone)?,
            () = self.sender.closed() => return Err(Gone),
        };
        self.sender.send((Ok(response), Some(room))).await.map_err(|_| Gone)
    }

    /// Ends the stream with a status.
    pub(super) async fn fail(&self, status: Status) {
        // Nobody may be there to hear it.
        drop(self.sender.send((Err(status), None)).await);
    }

    /// Waits until the receiver is gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// The receiving side, for the gRPC library.
#[derive(Debug)]
pub(crate) struct OutboundStream<T>(mpsc::Receiver<Waiting<T>>);

impl<T> Stream for OutboundStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|waiting| waiting.map(|(response, _room)| response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn a_slow_reader_pauses_the_sender_and_frees_room_as_it_reads() {
        let (out, mut stream) = Outbound::channel();
        for number in 0..2 {
            out.send_body(number, WAITING_BYTES_MAX / 2 - ROOM_UNIT_BYTES).await.expect("there is room");
        }
        let blocked =
            tokio::time::timeout(std::time::Duration::from_millis(20), out.send_body(2, 4 << 20)).await;
        assert!(blocked.is_err(), "16 MiB wait already");
        assert_eq!(stream.next().await.map(|got| got.expect("no status")), Some(0));
        out.send_body(3, 4 << 20).await.expect("half of it is free");
        out.send(4).await.expect("a response without a body needs no room");
        drop(stream);
        assert_eq!(out.send_body(5, 64 << 20).await, Err(Gone));
    }
}
