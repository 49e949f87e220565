//! Panics that end a row and not the program.
//!
//! Decoders and bindings panic on inputs that nobody thought of. [`catch`] turns such a
//! panic into a value with its message, and nothing is printed: whoever asked for the
//! row gets the message with its error. Panics elsewhere are reported as before.
//!
//! What the work shares with others must be whole after a panic. Locks are therefore those of
//! `parking_lot`, which a panic does not poison, or the standard library's taken with
//! `PoisonError::into_inner`; and no work leaves a shared value half changed while it calls
//! what may panic.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Display, Formatter};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::Once;

/// The threads that share the work of a trial. They catch what their work panics with
/// and raise it again in the thread that waits for them.
const HELPERS: &str = "trial";

thread_local! {
    /// How many calls of [`catch`] the thread is in.
    static CATCHING: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic that is being caught began.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    message: String,
    place: Option<String>,
}

impl Panic {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let words: Vec<&str> = text.unwrap_or("no message").split_whitespace().collect();
        Self {
            // An assertion's message has several lines; an error has one.
            message: words.join(" "),
            place: PLACE.try_with(RefCell::take).ok().flatten(),
        }
    }
}

impl Display for Panic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} (in {place})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Runs `work` and returns a panic of it as an error.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    install();
    let _catching = Catching::begin();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panic::new(&*payload))
}

/// Polls `work` to its end and returns a panic of it as an error.
pub async fn catch_async<F: Future>(work: F) -> Result<F::Output, Panic> {
    let mut work = pin!(work);
    std::future::poll_fn(move |cx| match catch(|| work.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await
}

/// Counts the calls of [`catch`] that the thread is in.
struct Catching;

impl Catching {
    fn begin() -> Self {
        CATCHING.set(CATCHING.get() + 1);
        Self
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        CATCHING.set(CATCHING.get() - 1);
    }
}

/// Installs, once, a panic hook in front of the present one that stays silent where
/// [`catch`] will catch. A hook runs before anything is caught, so it has to know that.
fn install() {
    static INSTALLED: Once = Once::new();
    // A thread that panics must not change the hook. The next one does.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_caught(info) {
                before(info);
            }
        }));
    });
}

fn is_caught(info: &PanicHookInfo<'_>) -> bool {
    let catching = CATCHING.try_with(Cell::get).unwrap_or_default();
    if catching > 0 {
        let place = info
            .location()
            .map(|place| format!("{}, line {}", short(place.file()), place.line()));
        let _ = PLACE.try_with(|last| *last.borrow_mut() = place);
    }
    catching > 0 || std::thread::current().name() == Some(HELPERS)
}

/// The file of a dependency without the folder that Cargo keeps it in.
fn short(file: &str) -> &str {
    let inside = file.split_once("/registry/src/");
    let inside = inside.and_then(|(_, rest)| rest.split_once('/'));
    inside.map_or(file, |(_, file)| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_and_the_place_are_kept() {
        let none: Vec<u8> = Vec::new();
        let panic = catch(|| none[7]).unwrap_err().to_string();
        let message = "index out of bounds: the len is 0 but the index is 7 (in ";
        assert!(panic.starts_with(message), "{panic}");
        assert!(panic.contains("panics.rs, line "), "{panic}");
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        let panic = catch(|| assert_eq!(1, 2)).unwrap_err().to_string();
        assert!(panic.contains("failed left: 1 right: 2"), "{panic}");
    }

    #[test]
    fn a_panic_with_a_value_has_no_message() {
        let panic = catch(|| panic::panic_any(7_u8)).unwrap_err();
        assert_eq!(panic.message, "no message");
    }

    #[test]
    fn catches_may_be_nested() {
        let outer = catch(|| {
            let inner = catch(|| panic!("inner")).unwrap_err();
            assert_eq!(inner.message, "inner");
            panic!("outer")
        });
        let outer: Result<(), Panic> = outer;
        assert_eq!(outer.unwrap_err().message, "outer");
        assert_eq!(CATCHING.get(), 0);
    }

    #[tokio::test]
    async fn a_future_that_panics_later_is_caught() {
        let late = async {
            tokio::task::yield_now().await;
            assert_eq!(CATCHING.get(), 1);
            panic!("late")
        };
        let late: Result<(), Panic> = catch_async(late).await;
        assert_eq!(late.unwrap_err().message, "late");
        assert_eq!(catch_async(async { 7 }).await, Ok(7));
        assert_eq!(CATCHING.get(), 0);
    }

    #[test]
    fn a_dependency_is_named_without_its_folder() {
        let file = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/zune-jpeg-0.5.15/src/mcu.rs";
        assert_eq!(short(file), "zune-jpeg-0.5.15/src/mcu.rs");
        assert_eq!(
            short("crates/imaging/src/lib.rs"),
            "crates/imaging/src/lib.rs"
        );
    }
}
