//! Codecs that panic: an error of the image, and not the end of the process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Error;

/// Runs work on one image, and makes an error of a panic, with its message.
///
/// The codecs promise not to panic and are fuzzed for it, but a file that breaks the
/// promise must not cost more than its own row. Nothing that the work changes is looked at
/// afterwards, but for buffers that every use fills anew.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            let words = text.as_deref().unwrap_or("no message").split_whitespace();
            Err(Error::Decoder {
                // An assertion's message has several lines; an error has one.
                reason: words.collect::<Vec<_>>().join(" "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(work: impl FnOnce() -> Result<(), Error>, expected: &str) {
        let error = guarded(work).unwrap_err();
        assert_eq!(error.code(), "DECODER_FAILED");
        let reason = expected.to_string();
        assert_eq!(error, Error::Decoder { reason });
    }

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        check(|| panic!("boom"), "boom");
        let place = 7;
        check(|| panic!("no\n  column {place}"), "no column 7");
        check(|| std::panic::panic_any(7), "no message");
    }

    #[test]
    fn errors_stay_as_they_are() {
        let error = guarded::<()>(|| Err(Error::argument("no"))).unwrap_err();
        assert_eq!(error, Error::argument("no"));
        assert_eq!(guarded(|| Ok(7)), Ok(7));
    }
}
