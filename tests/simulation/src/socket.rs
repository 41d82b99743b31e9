//! The client's end of a simulated connection: bytes to read that arrive when the network says so, bytes written that it takes.

use crate::network::Cluster;
use crate::world::lock;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has arrived for a client.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: BytesMut,
    closed: bool,
    waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn put(inbox: &Mutex<Self>, bytes: &[u8]) {
        let mut inbox = lock(inbox);
        if !inbox.closed {
            inbox.bytes.extend_from_slice(bytes);
            inbox.wake();
        }
    }

    pub(crate) fn close(inbox: &Mutex<Self>) {
        let mut inbox = lock(inbox);
        inbox.closed = true;
        inbox.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

pub(crate) struct Reader(pub(crate) Arc<Mutex<Inbox>>);

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inbox = lock(&self.0);
        if !inbox.bytes.is_empty() {
            let size = inbox.bytes.len().min(buffer.remaining());
            buffer.put_slice(&inbox.bytes[..size]);
            inbox.bytes.advance(size);
            return Poll::Ready(Ok(()));
        }
        if inbox.closed {
            return Poll::Ready(Ok(()));
        }
        inbox.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

pub(crate) struct Writer {
    pub(crate) cluster: Cluster,
    pub(crate) link: u64,
    pub(crate) inbox: Arc<Mutex<Inbox>>,
    pub(crate) unsent: BytesMut,
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if lock(&self.inbox).closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.unsent.extend_from_slice(bytes);
        let this = &mut *self;
        this.cluster.written(this.link, &mut this.unsent);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cluster.left(self.link);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However the client ended, what it wrote is on its way all the same.
        self.cluster.left(self.link);
    }
}
