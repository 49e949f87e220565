//! The clock of a schedule: a trait, so that tests can let a year pass in seconds.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Longer sleeps would oversleep when the system's clock is set, or the machine sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// Tells the time and waits.
pub trait Clock {
    /// The time.
    fn now(&self) -> DateTime<Utc>;

    /// Waits until a time, or for less long.
    fn sleep_until(&self, time: DateTime<Utc>) -> impl Future<Output = ()>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        let wait = (time - self.now()).to_std().unwrap_or_default();
        tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
    }
}
