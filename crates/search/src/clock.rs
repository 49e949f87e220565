//! The virtual clock: slots that are busy for known costs.

/// A time on the virtual clock, in units of cost.
pub(crate) type Time = f64;

/// Virtual slots, each free from a time on.
#[derive(Debug)]
pub(crate) struct Slots {
    free_from: Vec<Time>,
}

impl Slots {
    /// Slots that begin one after the other, a part of `usual` apart, so that trials of
    /// equal cost do not end all at once and make the next ones wait for each other.
    pub(crate) fn staggered(count: usize, usual: Time) -> Self {
        let start = |k: usize| k as f64 * usual / count as f64;
        Self {
            free_from: (0..count).map(start).collect(),
        }
    }

    /// The slot that is free first, and when.
    pub(crate) fn first(&self) -> (usize, Time) {
        let mut first = (0, Time::INFINITY);
        for (slot, time) in self.free_from.iter().enumerate() {
            if *time < first.1 {
                first = (slot, *time);
            }
        }
        first
    }

    /// Makes a slot busy until a time.
    pub(crate) fn busy_until(&mut self, slot: usize, time: Time) {
        self.free_from[slot] = time;
    }
}
