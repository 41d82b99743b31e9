//! One connection's task: opens it, then reads and writes until either side ends.
//!
//! Frames that wait are written together, in as few system calls as the socket takes. What it learns goes to the actor; it holds
//! no state of the protocol.

use super::socket::{Dial, Halves};
use crate::auth::AuthData;
use crate::machine::ConnectionId;
use crate::tls;
use crate::url::HostPort;
use crate::wire::frame::{self, DEFAULT_MAX_MESSAGE_SIZE, FRAME_PADDING, Frame};
use bytes::{Bytes, BytesMut};
use connector_sdk::{Error, ErrorKind};
use std::io::IoSlice;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Inbound frames of a broker that does not name a limit of its own; enough for the handshake in any case.
const INBOUND_LIMIT: usize = DEFAULT_MAX_MESSAGE_SIZE + FRAME_PADDING;
/// Frames written by one call.
const COALESCED: usize = 64;

/// What happened on a connection.
pub(crate) enum Happened {
    Connected { id: ConnectionId, auth: AuthData },
    Received { id: ConnectionId, frames: Vec<Frame> },
    Written { id: ConnectionId, frames: usize, bytes: usize },
    Credentials { id: ConnectionId, auth: AuthData },
    Lost { id: ConnectionId, error: Error },
}

/// Runs a connection until it ends; a closed `outbound` ends it after what is in it has been written.
pub(super) async fn run(
    id: ConnectionId,
    address: HostPort,
    dialer: Arc<dyn Dial>,
    happened: mpsc::Sender<Happened>,
    outbound: mpsc::Receiver<Bytes>,
) {
    let ended = serve(id, &address, &*dialer, &happened, outbound).await;
    if let Err(error) = ended {
        // The actor may be gone already: then nobody is left to care.
        let _unheard = happened.send(Happened::Lost { id, error }).await;
    }
}

async fn serve(
    id: ConnectionId,
    address: &HostPort,
    dialer: &dyn Dial,
    happened: &mpsc::Sender<Happened>,
    outbound: mpsc::Receiver<Bytes>,
) -> Result<(), Error> {
    let Halves { reader, writer } = dialer.dial(address).await?;
    let auth = dialer.credentials().await?;
    if happened.send(Happened::Connected { id, auth }).await.is_err() {
        return Ok(());
    }
    tokio::select! {
        biased;
        ended = read(id, address, reader, happened) => ended,
        ended = write(id, address, writer, happened, outbound) => ended,
    }
}

async fn read(
    id: ConnectionId,
    address: &HostPort,
    mut reader: impl AsyncRead + Unpin,
    happened: &mpsc::Sender<Happened>,
) -> Result<(), Error> {
    let doing = || format!("talking to the broker `{address}`");
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    let mut limit = INBOUND_LIMIT;
    loop {
        let size = reader.read_buf(&mut buffer).await.map_err(|error| tls::handshake_error(&doing(), &error))?;
        if size == 0 {
            return Err(Error::transient(format!("{}: it closed the connection", doing())));
        }
        let mut frames = Vec::new();
        while let Some(frame) = frame::decode(&mut buffer, limit).map_err(|error| {
            // A person must act: this is the HTTP port, or the TLS port without TLS.
            Error::new(ErrorKind::Configuration, format!("{}: it does not speak the Pulsar protocol here: {error}", doing()))
                .with_hint("use the broker's own port (6650), and `pulsar+ssl://` for its TLS port (6651)")
        })? {
            let largest = frame.command.connected.as_ref().and_then(|connected| connected.max_message_size);
            if let Some(size) = largest.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0) {
                limit = limit.max(size + FRAME_PADDING);
            }
            frames.push(frame);
        }
        if !frames.is_empty() && happened.send(Happened::Received { id, frames }).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    id: ConnectionId,
    address: &HostPort,
    mut writer: impl AsyncWrite + Unpin,
    happened: &mpsc::Sender<Happened>,
    mut outbound: mpsc::Receiver<Bytes>,
) -> Result<(), Error> {
    let lost = |error: std::io::Error| Error::transient(format!("writing to the broker `{address}`: {error}"));
    let mut frames = Vec::with_capacity(COALESCED);
    while outbound.recv_many(&mut frames, COALESCED).await > 0 {
        let bytes = frames.iter().map(Bytes::len).sum();
        write_all(&mut writer, &frames).await.map_err(lost)?;
        writer.flush().await.map_err(lost)?;
        let count = frames.len();
        frames.clear();
        if happened.send(Happened::Written { id, frames: count, bytes }).await.is_err() {
            return Ok(());
        }
    }
    writer.shutdown().await.map_err(lost)
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin), frames: &[Bytes]) -> std::io::Result<()> {
    let mut slices = [IoSlice::new(&[]); COALESCED];
    let used = frames.len().min(COALESCED);
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(frame);
    }
    let mut rest = &mut slices[..used];
    // Empty slices at the front would make a write of nothing look like the end.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let written = writer.write_vectored(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
