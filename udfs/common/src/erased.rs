//! Values of DataFusion whose types the compiler need not look into.

use std::any::Any;
use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A shared value that is known to be `Send` and `Sync` without a look at its type.
///
/// Whether a future may move between threads is worked out from the fields of everything
/// that it keeps. For a session, a plan or an expression of DataFusion those are some
/// thousand types, down to the parser's, and the compiler takes three seconds for each
/// async function that keeps one. An `Erased` ends that search, and costs a type check
/// at run time for each use.
pub struct Erased<T> {
    value: Arc<dyn Any + Send + Sync>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> Erased<T> {
    /// Shares a value. The compiler looks into `T` here, so call it from few places and
    /// not inside an async function.
    pub fn new(value: T) -> Self {
        Self {
            value: Arc::new(value),
            kind: PhantomData,
        }
    }
}

impl<T: 'static> Deref for Erased<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "`new` is the only place that makes one")]
    fn deref(&self) -> &T {
        self.value.downcast_ref().expect("the type it was made of")
    }
}

impl<T> Clone for Erased<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            kind: PhantomData,
        }
    }
}

impl<T: Debug + 'static> Debug for Erased<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        T::fmt(&**self, f)
    }
}
