//! Search for hyperparameters: what to try next, what to stop, and when.
//!
//! A [`Study`] hands out [`Job`]s and is told what came of them. A sampler proposes
//! points of a [`Space`], a pruner decides which trials go on, and a virtual clock decides
//! which results a decision may look at: those that ended before it by known costs. So a
//! study is a function of its seed and of the results, whatever runs the jobs and however
//! long they really take.
//!
//! Values are the same to the bit wherever the same binary runs: exponentials and
//! logarithms come from `libm`, whose code does not depend on the processor, and nothing
//! is kept in an order that a hash or a thread decides.
//!
//! Nothing here knows SQL, networks or threads. All objectives are minimized.

mod bracket;
mod clock;
mod draw;
mod error;
mod importance;
mod normal;
mod observation;
mod pareto;
mod samplers;
mod space;
mod study;

pub use draw::Draw;
pub use error::Error;
pub use importance::importance;
pub use observation::{Observation, State};
pub use pareto::{hypervolume, ranks};
pub use samplers::{MAX_GRID, Sampler, SamplerKind};
pub use space::{Dimension, Domain, Parameter, Point, Space, Value};
pub use study::{Job, Outcome, PrunerKind, Step, Study, StudyOptions, TrialEnd};
