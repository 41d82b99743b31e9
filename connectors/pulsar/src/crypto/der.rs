//! The little of DER that keys need: values one behind the other, by tag. Never reads past what it was given.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The optional version of a certificate, the parameters of an EC private key.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, mut rest) = rest.split_first()?;
        let mut length = usize::from(short);
        if short & 0x80 != 0 {
            let (bytes, behind) = rest.split_at_checked(usize::from(short & 0x7f))?;
            // A key is never longer than four bytes can say; more would be an attack or noise.
            length = (bytes.len() <= 4).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))?;
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// The next value's content, if it has this tag; else nothing is taken.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.any()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// The values inside the next one, a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }

    /// The next value, a positive integer, as big-endian bytes without the leading zero.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.take(INTEGER).map(without_zeros)
    }

    /// The next value, a bit string of whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        let (&unused, bytes) = self.take(BIT_STRING)?.split_first()?;
        (unused == 0).then_some(bytes)
    }
}

/// Big-endian bytes without leading zeros.
pub(super) fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_taken_by_their_tags() {
        let mut der = Der(&[SEQUENCE, 7, INTEGER, 2, 0, 0x90, BIT_STRING, 2, 0, 5, OID, 0]);
        assert!(der.take(OID).is_none());
        // The length of the sequence cuts off what lies behind it.
        let mut inside = Der(&[SEQUENCE, 8, INTEGER, 2, 0, 0x90, BIT_STRING, 2, 0, 5, OID, 0]).sequence().unwrap();
        assert_eq!(inside.integer(), Some(&[0x90][..]));
        assert_eq!(inside.bits(), Some(&[5][..]));
        assert!(inside.any().is_none());
        assert!(der.sequence().is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut der = Der(&bytes);
            let mut left = bytes.len();
            while der.any().is_some() {
                prop_assert!(der.0.len() < left);
                left = der.0.len();
            }
        }
    }
}
