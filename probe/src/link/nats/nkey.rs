//! The key of a NATS user: its seed as people write it, its public key, its signature.
//!
//! A seed is five bits that say so, eight that say whose it is, three of zero, 32 bytes, and their CRC-16,
//! in base32: <https://github.com/nats-io/nkeys>. Knows no files.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ring::signature::{Ed25519KeyPair, KeyPair};

const SEED: u8 = 18 << 3;
/// Accounts, clusters, modules, servers, operators, users, services and curve keys: a public key begins
/// with one of A, C, M, N, O, U, V, X.
const KINDS: [u8; 8] = [0, 2, 12, 13, 14, 20, 21, 23];

/// A key pair.
pub(super) struct Nkey {
    kind: u8,
    pair: Ed25519KeyPair,
}

impl Nkey {
    /// `None` if this is no seed. The text appears in no message: it may be a mistyped seed.
    pub(super) fn from_seed(text: &str) -> Option<Self> {
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let (bytes, crc) = bytes.split_last_chunk()?;
        let ([first, second], seed) = bytes.split_first_chunk()?;
        let kind = (first & 0b111) << 5 | (second & 0b1111_1000) >> 3;
        let is_seed = first & 0b1111_1000 == SEED
            && KINDS.contains(&(kind >> 3))
            && kind & 0b111 == 0
            && crc16(bytes) == u16::from_le_bytes(*crc);
        // Fails unless there are 32 bytes.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        is_seed.then_some(Self { kind, pair })
    }

    /// The public key.
    pub(super) fn public_key(&self) -> String {
        let mut bytes = vec![self.kind];
        bytes.extend(self.pair.public_key().as_ref());
        bytes.extend(crc16(&bytes).to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    /// The signature of what a server wants signed, encoded as it wants it.
    pub(super) fn sign(&self, nonce: &str) -> String {
        BASE64URL_NOPAD.encode(self.pair.sign(nonce.as_bytes()).as_ref())
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use nkeys::KeyPairType;
    use proptest::prelude::*;

    use super::*;

    const ALL: [KeyPairType; 8] = [
        KeyPairType::Account,
        KeyPairType::Cluster,
        KeyPairType::Curve,
        KeyPairType::Module,
        KeyPairType::Operator,
        KeyPairType::Server,
        KeyPairType::Service,
        KeyPairType::User,
    ];

    fn theirs(kind: usize, seed: [u8; 32]) -> nkeys::KeyPair {
        nkeys::KeyPair::new_from_raw(ALL[kind].clone(), seed).unwrap()
    }

    #[test]
    fn a_seed_of_no_known_kind_is_refused() {
        // The nkeys crate takes it for an operator's; the reference implementation refuses it.
        for kind in (0..=u8::MAX).filter(|kind| kind & 7 != 0 || !KINDS.contains(&(kind >> 3))) {
            let mut bytes = vec![SEED | kind >> 5, kind << 3];
            bytes.extend([7; 32]);
            bytes.extend(crc16(&bytes).to_le_bytes());
            assert!(
                Nkey::from_seed(&BASE32_NOPAD.encode(&bytes)).is_none(),
                "{kind}"
            );
        }
    }

    proptest! {
        // Without optimization a signature of the other crate takes a quarter of a second.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_seed_gives_the_key_and_the_signature_that_it_gives_to_the_nkeys_crate(
            kind in 0..ALL.len(), seed in any::<[u8; 32]>(), nonce in "[ -~]{0,60}",
        ) {
            let theirs = theirs(kind, seed);
            let ours = Nkey::from_seed(&theirs.seed().unwrap()).unwrap();
            prop_assert_eq!(ours.public_key(), theirs.public_key());
            let signature = theirs.sign(nonce.as_bytes()).unwrap();
            prop_assert_eq!(ours.sign(&nonce), BASE64URL_NOPAD.encode(&signature));
        }

        #[test]
        fn a_seed_with_a_slip_is_refused_as_the_nkeys_crate_refuses_it(
            kind in 0..ALL.len(), seed in any::<[u8; 32]>(), at in 0..58_usize, slip in "[A-Z0-9a-z ]{0,2}",
        ) {
            let seed = theirs(kind, seed).seed().unwrap();
            let broken = format!("{}{slip}{}", &seed[..at], &seed[at + 1..]);
            let theirs = nkeys::KeyPair::from_seed(&broken).is_ok();
            prop_assert_eq!(Nkey::from_seed(&broken).is_some(), theirs);
            prop_assert_eq!(theirs, broken == seed);
        }

        #[test]
        fn a_text_that_is_no_seed_is_refused_as_the_nkeys_crate_refuses_it(text in "S?[A-Z2-7]{0,60}|\\PC*") {
            prop_assert_eq!(Nkey::from_seed(&text).is_some(), nkeys::KeyPair::from_seed(&text).is_ok());
        }
    }
}
