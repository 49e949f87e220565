//! SQL functions for tests and benches of the cluster.
//!
//! Sessions have them only where the environment variable [`SWITCH`] is set: some of them
//! bring their row or their process down on purpose.

mod test_abort;
mod test_panic;
mod test_sleep;

use atoll_udf_common::{Grain, expensive};
use datafusion::logical_expr::{DocSection, ScalarUDF};

pub use test_abort::TestAbort;
pub use test_panic::TestPanic;
pub use test_sleep::TestSleep;

/// The environment variable that adds these functions to every session of a process.
pub const SWITCH: &str = "ATOLL_TEST_FUNCTIONS";

const SECTION: DocSection = DocSection {
    include: true,
    label: "Test Functions",
    description: None,
};

/// The functions of this family, where the process asks for them.
pub fn functions() -> Vec<ScalarUDF> {
    if std::env::var_os(SWITCH).is_none() {
        return vec![];
    }
    vec![
        expensive(TestSleep::new("test_sleep", Grain::Rows)),
        expensive(TestSleep::new("test_sleep_in_group", Grain::Groups)),
        expensive(TestPanic::new("test_panic", false)),
        expensive(TestPanic::new("test_panic_in_call", true)),
        expensive(TestAbort::new("test_abort", Grain::Rows)),
        expensive(TestAbort::new("test_abort_in_group", Grain::Groups)),
    ]
}
