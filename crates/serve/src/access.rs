//! Who may call: the headers of a request carry the server's token, or the id of a session
//! that was opened with it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

/// The cookie that carries the id of a session.
const COOKIE: &str = "atoll_session";

/// Base64 with or without `=` at its end: drivers written in Go, as that of ADBC, leave it
/// out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request shows to be let in.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Credentials {
    /// After `authorization: Bearer`: the token, or the id of a session.
    pub(crate) bearer: Option<String>,
    /// After `authorization: Basic`: any user, and the token as the password.
    pub(crate) password: Option<String>,
    /// The id of a session.
    pub(crate) cookie: Option<String>,
}

impl Credentials {
    pub(crate) fn of(headers: &MetadataMap) -> Self {
        let mut credentials = Self::default();
        let authorization = headers.get("authorization");
        if let Some(text) = authorization.and_then(|value| value.to_str().ok())
            && let Some((scheme, rest)) = text.split_once(' ')
        {
            let rest = rest.trim();
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => credentials.bearer = Some(rest.to_string()),
                "basic" => credentials.password = password(rest),
                _ => {}
            }
        }
        credentials.cookie = headers
            .get_all("cookie")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, id)| id.trim_matches('"').to_string());
        credentials
    }
}

/// The password of a user.
fn password(encoded: &str) -> Option<String> {
    let bytes = BASE64.decode(encoded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_string())
}

/// Tells a client the id of its session, as a cookie and as a token: some keep one, some
/// the other.
pub(crate) fn announce(headers: &mut MetadataMap, id: &str) -> Result<(), Status> {
    let unfit = |_| Status::internal("internal error: a session id is no header");
    let cookie: MetadataValue<_> = format!("{COOKIE}={id}; Path=/; HttpOnly")
        .parse()
        .map_err(unfit)?;
    let bearer: MetadataValue<_> = format!("Bearer {id}").parse().map_err(unfit)?;
    headers.insert("set-cookie", cookie);
    headers.insert("authorization", bearer);
    Ok(())
}

/// The error for a client that has not shown the server's token.
pub(crate) fn refused(showed_another: bool) -> Status {
    Status::unauthenticated(if showed_another {
        "the token given is not that of this server\nhint: pass the one that the \
             server was started with"
    } else {
        "this server needs its token\nhint: pass the token as the password, with any \
             user name, or as the header authorization: Bearer TOKEN"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: &Credentials) {
        let mut map = MetadataMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        assert_eq!(Credentials::of(&map), *expected);
    }

    #[test]
    fn a_password_may_hold_colons() {
        let expected = |password: &str| Credentials {
            password: Some(password.to_string()),
            ..Credentials::default()
        };
        check(&[("authorization", "Basic YW5uOmE6Yg==")], &expected("a:b"));
        // As Go's library of Arrow Flight writes it.
        check(&[("authorization", "Basic YW5uOmE6Yg")], &expected("a:b"));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        check(
            &[
                ("authorization", "bearer abc"),
                ("cookie", "a=b; atoll_session=1-2"),
            ],
            &Credentials {
                bearer: Some("abc".to_string()),
                cookie: Some("1-2".to_string()),
                password: None,
            },
        );
    }

    #[test]
    fn nonsense_is_no_credential() {
        check(&[("authorization", "Basic ???")], &Credentials::default());
        check(&[("authorization", "secret")], &Credentials::default());
    }
}
