//! What a user reads when an object store refuses: one sentence, and what to do.
//!
//! Stores answer with XML, and their client wraps that in the request it made. What it
//! was about, a bucket that is not there, a key that is not valid, a host without an
//! address, is found in that text, because the client has no type for it.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

use datafusion::common::DataFusionError;
use url::Url;

use crate::Location;

/// An error of a store, in words. The error itself is kept, so that whoever runs the
/// statement can tell what may pass by itself.
#[derive(Debug)]
pub struct StoreError {
    message: String,
    /// The message says what to do.
    advises: bool,
    /// What the store's client said.
    pub cause: object_store::Error,
}

/// The cause is not among the sources: its words have been replaced.
impl Error for StoreError {}

impl Display for StoreError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StoreError {
    /// Something that could not be done, such as `cannot read s3://bucket/a`.
    pub fn new(what: &str, place: &Location, cause: object_store::Error) -> Self {
        let explained = explain(&cause, Some(&place.url));
        let advises = explained.is_some();
        let reason = explained.unwrap_or_else(|| last_words(&cause));
        let message = format!("{what}: {reason}");
        Self {
            message,
            advises,
            cause,
        }
    }

    /// Says what to do, unless that is known better.
    pub fn advise(mut self, remedy: &str) -> Self {
        if !self.advises {
            self.advises = true;
            self.message = format!("{}; {remedy}", self.message);
        }
        self
    }

    /// A location that could not be read.
    pub(crate) fn reading(place: &Location, cause: object_store::Error) -> Self {
        if matches!(cause, object_store::Error::NotFound { .. })
            && explain(&cause, Some(&place.url)).is_none()
        {
            return Self {
                message: format!("file not found: {place}; check the path"),
                advises: true,
                cause,
            };
        }
        Self::new(&format!("cannot read {place}"), place, cause)
    }
}

impl From<StoreError> for DataFusionError {
    fn from(error: StoreError) -> Self {
        Self::External(Box::new(error))
    }
}

/// What a store that was asked over the network refused, where that is known, for places
/// that do not know what was read.
pub fn explain_store_error(error: &object_store::Error) -> Option<String> {
    if let Some(explained) = explain(error, None) {
        return Some(explained);
    }
    match error {
        object_store::Error::NotFound { path, .. }
            if all_words(error).contains("Error performing") =>
        {
            Some(format!("file not found: {path}; check the path"))
        }
        _ => None,
    }
}

/// The services that are told apart.
#[derive(Clone, Copy)]
enum Service {
    S3,
    Google,
    Azure,
    Web,
}

impl Service {
    fn of(error: &object_store::Error, place: Option<&Url>, said: &str) -> Self {
        let store = match error {
            object_store::Error::Generic { store, .. } => store,
            _ => "",
        };
        match (place.map(Url::scheme), store) {
            (Some("s3" | "s3a"), _) | (None, "S3") => Self::S3,
            (Some("gs"), _) | (None, "GCS") => Self::Google,
            (Some("az" | "azure" | "abfs" | "abfss" | "adl"), _)
            | (None, "MicrosoftAzure") => Self::Azure,
            (None, _) if said.contains("<Code>") => Self::S3,
            _ => Self::Web,
        }
    }

    /// Where it takes its credentials from.
    fn credentials(self) -> &'static str {
        match self {
            Self::S3 => {
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, \
                 AWS_SESSION_TOKEN"
            }
            Self::Google => "GOOGLE_SERVICE_ACCOUNT, the path of a key file",
            Self::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
            Self::Web => "the URL",
        }
    }

    /// What says which server it is.
    fn address(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ENDPOINT and AWS_REGION",
            Self::Google => "GOOGLE_BASE_URL",
            Self::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_ENDPOINT",
            Self::Web => "the URL",
        }
    }
}

/// What happened and what to do, where it is known.
fn explain(error: &object_store::Error, place: Option<&Url>) -> Option<String> {
    if place.is_some_and(|url| url.scheme() == "file") {
        return None;
    }
    let said = all_words(error);
    let service = Service::of(error, place, &said);
    let code = tag(&said, "Code");
    let bucket = place.and_then(|url| url.host_str());
    let bucket = bucket.or_else(|| tag(&said, "BucketName")).unwrap_or("");
    no_bucket(&said, code, bucket)
        .or_else(|| no_credentials(&said, service))
        .or_else(|| other_region(&said, code, bucket))
        .or_else(|| refused(error, &said, code, service))
        .or_else(|| unreachable(&said, service))
        .or_else(|| {
            if code == Some("NoSuchKey") {
                return None;
            }
            // The server's sentence without its XML.
            let (code, message) = (code?, tag(&said, "Message")?);
            let message = message.trim_end_matches('.');
            Some(format!("the store answered {code}: {message}"))
        })
}

fn no_bucket(said: &str, code: Option<&str>, bucket: &str) -> Option<String> {
    let is_missing = matches!(code, Some("NoSuchBucket" | "ContainerNotFound"))
        || said.contains("The specified bucket does not exist")
        || said.contains("The specified container does not exist");
    is_missing.then(|| {
        format!(
            "there is no bucket named {bucket}; create it, or check the name and the \
             address of the store"
        )
    })
}

/// Without keys the clients ask the machine they run on, as if it were one of the
/// service's own.
fn no_credentials(said: &str, service: Service) -> Option<String> {
    let asked_machine = [
        "169.254.169.254",
        "169.254.170.2",
        "metadata.google.internal",
    ];
    let asked = asked_machine.iter().any(|host| said.contains(host));
    let missing = said.contains("MissingSecretAccessKey")
        || said.contains("Missing SecretAccessKey")
        || said.contains("Missing AccessKeyId");
    (asked || missing).then(|| {
        let credentials = service.credentials();
        format!("there are no credentials for it; set {credentials}")
    })
}

fn other_region(said: &str, code: Option<&str>, bucket: &str) -> Option<String> {
    let is_other = matches!(
        code,
        Some("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed")
    ) || said.contains("incorrectly configured region");
    is_other.then(|| {
        let region = tag(said, "Region")
            .or_else(|| said.split_once("expecting '")?.1.split('\'').next());
        match region {
            Some(region) => {
                format!("the bucket {bucket} is in region {region}; set AWS_REGION to it")
            }
            None => {
                format!("the bucket {bucket} is in another region; set AWS_REGION to it")
            }
        }
    })
}

fn refused(
    error: &object_store::Error,
    said: &str,
    code: Option<&str>,
    service: Service,
) -> Option<String> {
    let known = code.is_some_and(|code| {
        [
            "AccessDenied",
            "AuthenticationFailed",
            "AuthorizationFailure",
            "ExpiredToken",
            "InvalidAccessKeyId",
            "InvalidToken",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
        ]
        .contains(&code)
    });
    let by_status = matches!(
        error,
        object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
    ) || said.contains("403 Forbidden")
        || said.contains("401 Unauthorized");
    if !known && !by_status {
        return None;
    }
    let reason = code.map_or_else(String::new, |code| format!(" ({code})"));
    let remedy = match code {
        Some("RequestTimeTooSkewed") => "set the clock of this machine".to_string(),
        Some("ExpiredToken") => format!("get new ones and set {}", service.credentials()),
        _ => format!("check {} and what they allow", service.credentials()),
    };
    Some(format!("access is refused{reason}; {remedy}"))
}

fn unreachable(said: &str, service: Service) -> Option<String> {
    let host = said
        .rsplit_once("Error performing ")
        .and_then(|(_, rest)| rest.split(' ').nth(1))
        .and_then(|uri| Url::parse(uri).ok());
    let host = host.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        })
    });
    let host = host.unwrap_or_else(|| "the store's host".to_string());
    let address = service.address();
    if said.contains("dns error") || said.contains("failed to lookup address") {
        return Some(format!("no host is named {host}; check {address}"));
    }
    if said.contains("tcp connect error") || said.contains("Connection refused") {
        return Some(format!("nothing answers at {host}; check {address}"));
    }
    if said.contains("operation timed out") || said.contains("deadline has elapsed") {
        return Some(format!("{host} does not answer in time; check {address}"));
    }
    None
}

/// What stands in an element of the server's answer.
fn tag<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// An error with everything below it.
fn all_words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The last error in a chain: stores wrap what matters in several layers of context.
/// Of a page that a server sent nothing is left.
fn last_words(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let page = text.find("<?xml").or_else(|| text.find('<'));
    let text = &text[..page.unwrap_or(text.len())];
    let text = text.trim_end_matches([' ', ':', '\n']);
    match text.strip_prefix("Server returned non-2xx status code: ") {
        Some(status) => format!("the server answered {status}"),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    fn answer(status: &str, code: &str, more: &str) -> String {
        format!(
            "Error performing GET http://127.0.0.1:9000/photos?list-type=2 in 3ms - \
             Server returned non-2xx status code: {status}: <?xml version=\"1.0\" \
             encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>{more}</Error>"
        )
    }

    #[track_caller]
    fn check(error: object_store::Error, expected: &str) {
        let place = Location::parse("s3://photos/2026/a.jpg").unwrap();
        let text = StoreError::reading(&place, error).to_string();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_bucket_that_is_not_there_is_named() {
        let missing = answer("404 Not Found", "NoSuchBucket", "");
        let expected = "cannot read s3://photos/2026/a.jpg: there is no bucket named \
            photos; create it, or check the name and the address of the store";
        check(generic(&missing), expected);
        let not_found = object_store::Error::NotFound {
            path: "2026/a.jpg".to_string(),
            source: missing.into(),
        };
        check(not_found, expected);
        let google = "The specified bucket does not exist.";
        check(generic(google), expected);
    }

    #[test]
    fn a_missing_object_is_a_missing_file() {
        let error = object_store::Error::NotFound {
            path: "2026/a.jpg".to_string(),
            source: answer("404 Not Found", "NoSuchKey", "").into(),
        };
        let place = Location::parse("s3://photos/2026/a.jpg").unwrap();
        let text = StoreError::reading(&place, error).to_string();
        assert!(
            text.starts_with("file not found: s3://photos/2026/a.jpg"),
            "{text}"
        );
    }

    #[test]
    fn refusals_say_what_to_check() {
        for code in [
            "AccessDenied",
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
        ] {
            let error = object_store::Error::PermissionDenied {
                path: "2026/a.jpg".to_string(),
                source: answer("403 Forbidden", code, "").into(),
            };
            check(
                error,
                &format!(
                    "cannot read s3://photos/2026/a.jpg: access is refused ({code}); \
                     check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary \
                     ones, AWS_SESSION_TOKEN and what they allow"
                ),
            );
        }
    }

    #[test]
    fn another_region_is_named_where_it_is_known() {
        let more = "<Message>The authorization header is malformed; the region \
            'us-east-1' is wrong; expecting 'eu-west-1'</Message>";
        check(
            generic(&answer(
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                more,
            )),
            "cannot read s3://photos/2026/a.jpg: the bucket photos is in region \
             eu-west-1; set AWS_REGION to it",
        );
        check(
            generic(
                "Received redirect without LOCATION, this normally indicates an \
                 incorrectly configured region",
            ),
            "cannot read s3://photos/2026/a.jpg: the bucket photos is in another \
             region; set AWS_REGION to it",
        );
    }

    #[test]
    fn hosts_that_do_not_answer_are_named() {
        let request = "Error performing GET http://s3.nowhere.example:9000/photos in 3ms";
        check(
            generic(&format!(
                "{request} - HTTP error: dns error: failed to lookup"
            )),
            "cannot read s3://photos/2026/a.jpg: no host is named \
             s3.nowhere.example:9000; check AWS_ENDPOINT and AWS_REGION",
        );
        check(
            generic(&format!("{request} - HTTP error: tcp connect error")),
            "cannot read s3://photos/2026/a.jpg: nothing answers at \
             s3.nowhere.example:9000; check AWS_ENDPOINT and AWS_REGION",
        );
        let machine = "Error performing PUT http://169.254.169.254/latest/api/token in \
            3ms - HTTP error: tcp connect error";
        check(
            generic(machine),
            "cannot read s3://photos/2026/a.jpg: there are no credentials for it; set \
             AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, \
             AWS_SESSION_TOKEN",
        );
    }

    #[test]
    fn no_answer_is_shown_as_xml() {
        let strange = answer("400 Bad Request", "Strange", "<Message>No.</Message>");
        check(
            generic(&strange),
            "cannot read s3://photos/2026/a.jpg: the store answered Strange: No",
        );
        let page = "Server returned non-2xx status code: 418: <html>teapot</html>";
        check(
            generic(page),
            "cannot read s3://photos/2026/a.jpg: the server answered 418",
        );
        let bare = explain_store_error(&generic(&strange));
        assert_eq!(bare.as_deref(), Some("the store answered Strange: No"));
    }
}
