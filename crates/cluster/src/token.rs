//! The shared secret of a cluster.
//!
//! Whoever knows the token may run statements, and nobody else may. The token itself is
//! never sent: connections carry [`Token::proof`], and a task carries a signature, so
//! that an executor runs nothing that no holder of the token asked for.

use std::fmt::{self, Debug, Formatter};
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Error;

/// What a proof is made over. Changes when the protocol does.
const PURPOSE: &[u8] = b"atoll cluster connection 1";

/// Shorter tokens can be guessed.
const LEAST_LENGTH: usize = 16;

/// The bytes of a signature.
pub(crate) const SIGNATURE: usize = 32;

/// A shared secret, or none.
#[derive(Clone, Default)]
pub struct Token(Option<Vec<u8>>);

/// Never shows the secret.
impl Debug for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = if self.0.is_some() { "set" } else { "none" };
        write!(f, "Token({state})")
    }
}

impl Token {
    /// The token in a file, else the one in the environment variable `ATOLL_TOKEN`,
    /// else none. White space around it does not count.
    pub fn find(file: Option<&Path>) -> Result<Self, Error> {
        let text = match file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Error::Token(format!("cannot read {}: {error}", file.display()))
            })?),
            None => std::env::var("ATOLL_TOKEN").ok(),
        };
        text.map_or(Ok(Self::default()), |text| Self::new(&text))
    }

    /// A token from its text.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() < LEAST_LENGTH {
            return Err(Error::Token(format!(
                "a token needs at least {LEAST_LENGTH} characters, got {}; make one \
                 with: openssl rand -hex 32",
                text.len()
            )));
        }
        Ok(Self(Some(text.as_bytes().to_vec())))
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// What a connection shows instead of the token.
    pub(crate) fn proof(&self) -> Option<String> {
        self.mac(PURPOSE).map(hex::encode)
    }

    /// Signs a task; zeros without a token.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.mac(message).unwrap_or_default()
    }

    /// Whether a holder of the token signed `message`. Anything is, without a token.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.keyed(message) {
            Some(mac) => mac.verify_slice(signature).is_ok(),
            None => true,
        }
    }

    /// Whether a user agent carries the proof.
    pub(crate) fn admits_agent(&self, agent: &str) -> bool {
        agent
            .split(' ')
            .filter_map(|word| word.strip_prefix(PROOF))
            .any(|proof| match hex::decode(proof) {
                Ok(proof) => self.verifies(PURPOSE, &proof),
                Err(_) => false,
            })
    }

    /// Whether this is the token, as a client sends a password.
    pub fn is(&self, text: &str) -> bool {
        match Self::new(text) {
            Ok(given) => self.verifies(PURPOSE, &given.sign(PURPOSE)),
            Err(_) => false,
        }
    }

    fn keyed(&self, message: &[u8]) -> Option<Hmac<Sha256>> {
        let key = self.0.as_ref()?;
        // Any length is a key.
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(message);
        Some(mac)
    }

    fn mac(&self, message: &[u8]) -> Option<[u8; SIGNATURE]> {
        Some(self.keyed(message)?.finalize().into_bytes().into())
    }

    /// The user agent of connections. Ballista's executor offers its connections no
    /// other place for a word of ours.
    pub(crate) fn user_agent(&self) -> String {
        let version = atoll_session::VERSION;
        match self.proof() {
            Some(proof) => format!("atoll/{version} {PROOF}{proof}"),
            None => format!("atoll/{version}"),
        }
    }
}

/// What stands before the proof in a user agent.
const PROOF: &str = "proof/";

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new("0123456789abcdef").unwrap()
    }

    #[test]
    fn only_the_same_token_is_admitted() {
        let agent = format!("{} tonic/0.14", token().user_agent());
        assert!(token().admits_agent(&agent));
        let other = Token::new("another secret of ours").unwrap();
        assert!(!other.admits_agent(&agent));
        assert!(!token().admits_agent("atoll/0.1.0 tonic/0.14"));
        assert!(token().is("0123456789abcdef\n"));
        assert!(!token().is("0123456789abcdee"));
    }

    #[test]
    fn a_changed_task_is_noticed() {
        let signature = token().sign(b"task");
        assert!(token().verifies(b"task", &signature));
        assert!(!token().verifies(b"tusk", &signature));
        assert!(!token().verifies(b"task", &[0; SIGNATURE]));
    }

    #[test]
    fn the_secret_is_never_shown() {
        let shown = format!("{:?} {}", token(), token().user_agent());
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }

    #[test]
    fn short_tokens_are_refused() {
        assert!(Token::new("secret").is_err());
    }
}
