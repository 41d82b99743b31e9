#![allow(clippy::unwrap_used)]
use super::*;
use connector_sdk::ByteBudget;
use futures_util::FutureExt;

fn whole(mut body: TakenBody, length: Option<u64>, reservation: &mut Reservation) -> Result<Vec<u8>, ReadError> {
    body.length = length;
    let mut gathered = Vec::new();
    let reading = body.read(reservation, |length| 2 * length, |piece| gathered.extend_from_slice(piece));
    let read = reading.now_or_never().expect("pieces in memory are there at once")?;
    assert_eq!(read, gathered.len() as u64);
    Ok(gathered)
}

fn body() -> TakenBody {
    pieces(vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")])
}

#[test]
fn a_body_is_gathered_within_what_is_held() {
    let share = ByteBudget::new(100).share();
    for length in [None, Some(7)] {
        let mut held = share.try_reserve(14).unwrap();
        assert_eq!(whole(body(), length, &mut held).unwrap(), b"abcdefg");
        assert_eq!(held.bytes(), 14);
    }
}

#[test]
fn more_is_held_where_there_is_room() {
    let share = ByteBudget::new(100).share();
    let mut held = share.try_reserve(1).unwrap();
    assert_eq!(whole(body(), None, &mut held).unwrap(), b"abcdefg");
    assert_eq!(held.bytes(), 14);
}

#[test]
fn without_room_the_body_is_left_and_its_cost_told() {
    let share = ByteBudget::new(10).share();
    let mut held = share.try_reserve(4).unwrap();
    assert!(matches!(whole(body(), Some(7), &mut held), Err(ReadError::TooLarge(14))));
    assert!(matches!(whole(body(), None, &mut held), Err(ReadError::TooLarge(14))), "found out while reading");
    assert_eq!(held.bytes(), 6, "room for the first piece was there");
}

#[test]
fn a_body_shorter_than_its_head_says_is_cut() {
    let share = ByteBudget::new(100).share();
    let mut held = share.try_reserve(50).unwrap();
    assert!(matches!(whole(body(), Some(8), &mut held), Err(ReadError::Failed(_))));
}
