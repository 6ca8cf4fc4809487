//! What a session's cookie says: the number of a key, until when, and a proof that one of this
//! installation's servers wrote it. Nothing is kept: every server understands every ticket, and one
//! whose key was revoked is worth nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::MessageKey;

/// What the secret of tickets is derived by; another number makes all of them void.
const LABEL: &str = "rowmill session tickets 1";
/// Bytes of the number and the time.
const CLAIM: usize = 4 + 8;
/// Bytes of the proof.
const PROOF: usize = 32;

/// Writes and reads tickets.
#[derive(Clone)]
pub(super) struct Tickets(Hmac<Sha256>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

impl Tickets {
    /// Those of an installation.
    pub(super) fn new(key: &MessageKey) -> Self {
        // HMAC takes keys of every length, so the error cannot happen; were it to, nothing that
        // anybody else wrote would be good either.
        let secret = key.derive(LABEL);
        Self(Hmac::new_from_slice(&secret).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// A ticket for the key of that number, until a moment in milliseconds since 1970 (UTC).
    pub(super) fn write(&self, number: i32, until_ms: i64) -> String {
        let mut bytes = Vec::with_capacity(CLAIM + PROOF);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&until_ms.to_be_bytes());
        let mut mac = self.0.clone();
        mac.update(&bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The number of a ticket's key, if it is one of ours and not over.
    pub(super) fn read(&self, ticket: &str, now_ms: i64) -> Option<i32> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (claim, proof) = bytes.split_at_checked(CLAIM)?;
        let mut mac = self.0.clone();
        mac.update(claim);
        mac.verify_slice(proof).ok()?;
        let (number, until) = claim.split_at_checked(4)?;
        let until = i64::from_be_bytes(until.try_into().ok()?);
        (now_ms < until).then_some(i32::from_be_bytes(number.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_until_its_end_and_only_as_it_was_written() {
        let tickets = Tickets::new(&MessageKey::new(b"secret"));
        let ticket = tickets.write(7, 1_000);
        assert_eq!(tickets.read(&ticket, 999), Some(7));
        assert_eq!(tickets.read(&ticket, 1_000), None);
        assert_eq!(Tickets::new(&MessageKey::new(b"other")).read(&ticket, 0), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(tickets.read(std::str::from_utf8(&changed).unwrap(), 0), None, "{at}");
        }
        for bad in ["", "A", &ticket[..16], &format!("{ticket}AAAA"), "ä"] {
            assert_eq!(tickets.read(bad, 0), None, "{bad:?}");
        }
    }
}
