#![allow(clippy::unwrap_used)]
use super::super::body::pieces;
use super::*;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures_util::FutureExt;
use proptest::prelude::*;

fn encoded(payloads: &[Vec<u8>]) -> Bytes {
    let mut wire = Vec::new();
    for payload in payloads {
        let message = Message::new(payload.clone()).add_header(Header::new(":event-type", HeaderValue::String("x".into())));
        write_message_to(&message, &mut wire).unwrap();
    }
    wire.into()
}

fn cut_up(wire: &Bytes, at: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<_> = at.iter().map(|cut| cut % (wire.len() + 1)).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| wire.slice(pair[0]..pair[1])).collect()
}

async fn payload(frames: &mut Frames) -> Result<Bytes, Error> {
    let (headers, length) = frames.headers().await?;
    let mut payload = BytesMut::new();
    while let Some(piece) = frames.piece().await? {
        payload.extend_from_slice(&piece);
    }
    // The frame was whole.
    assert_eq!((headers[0].name().as_str(), payload.len()), (":event-type", length));
    Ok(payload.freeze())
}

/// All frames, or the error that came instead of one.
fn read(pieces_of_it: Vec<Bytes>) -> Result<Vec<Bytes>, Error> {
    let mut frames = Frames::new(pieces(pieces_of_it));
    let reading = async {
        let mut payloads = Vec::new();
        while frames.announced().await?.is_some() {
            payloads.push(payload(&mut frames).await?);
        }
        Ok(payloads)
    };
    reading.now_or_never().expect("pieces in memory are there at once")
}

proptest! {
    #[test]
    fn frames_come_whole_however_the_connection_cuts_them(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let wire = encoded(&payloads);
        prop_assert_eq!(read(cut_up(&wire, &cuts)).unwrap(), payloads);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
        place: usize,
        bit in 0u8..8,
    ) {
        let mut wire = encoded(&payloads).to_vec();
        let place = place % wire.len();
        wire[place] ^= 1 << bit;
        prop_assert!(read(cut_up(&wire.into(), &cuts)).is_err());
    }

    #[test]
    fn a_cut_in_a_frame_is_an_error(payload in prop::collection::vec(any::<u8>(), 0..60), lost in 1usize..40) {
        let wire = encoded(&[payload]);
        let lost = lost.min(wire.len() - 1);
        prop_assert!(read(vec![wire.slice(..wire.len() - lost)]).is_err());
    }
}

#[test]
fn an_announced_frame_is_not_read_beyond_its_head() {
    let wire = encoded(&[vec![1; 1000]]);
    let mut frames = Frames::new(pieces(vec![wire.slice(..12), wire.slice(12..)]));
    assert_eq!(frames.announced().now_or_never().unwrap().unwrap(), Some(wire.len()));
    assert!(frames.rest.is_empty(), "the second piece is still with the connection");
    assert_eq!(payload(&mut frames).now_or_never().unwrap().unwrap().len(), 1000);
}
