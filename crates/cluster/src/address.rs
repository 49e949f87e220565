//! Where a scheduler is.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::Error;

/// The port of a scheduler that names none.
pub const DEFAULT_PORT: u16 = 50050;

/// Host and port of a scheduler: `df://host:port`, or without the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The address of a scheduler on this host and port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self { host, port }
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.host, self.port)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "df://{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Address(format!(
                "a scheduler's address is HOST:PORT or df://HOST:PORT, got '{text}'"
            ))
        };
        let rest = match text.split_once("://") {
            Some(("df", rest)) => rest.trim_end_matches('/'),
            Some(_) => return Err(wrong()),
            None => text,
        };
        // An IPv6 address has colons of its own and stands in brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, DEFAULT_PORT),
        };
        let plain = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if !plain || (host.contains(':') && !bracketed) || port == 0 {
            return Err(wrong());
        }
        Ok(Self::new(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_or_none() {
        for (text, shown) in [
            ("df://node1:7000", "df://node1:7000"),
            ("node1:7000", "df://node1:7000"),
            ("node1", "df://node1:50050"),
            ("df://[::1]:7000/", "df://[::1]:7000"),
            ("[::1]", "df://[::1]:50050"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in ["", "http://a:1", "a:b", "a:0", "::1", "a/b:1", "df://"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
