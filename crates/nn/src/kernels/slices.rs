//! Mini-batches in slices of a fixed size, so that sums over images do not depend on how
//! many threads make them.

use super::level::dispatch;
use super::simd::{Kernel, Simd};
use super::{Buffer, Team};

/// How many images of a mini-batch make a slice. A trial can use as many threads as its
/// mini-batch has slices, so more than `batch_size / 32` threads have nothing to do.
pub(crate) const SLICE: usize = 32;

/// The scratch memory that a layer needs for one slice.
pub(crate) trait Scratch: Send {
    /// The gradients, summed over the images of the slice.
    fn sums(&mut self) -> &mut Buffer;
}

/// The memory of all slices; one for all of them if there is one thread.
pub(crate) struct Slices<S>(Vec<S>);

impl<S: Scratch> Slices<S> {
    /// For mini-batches of at most `rows` images.
    pub(crate) fn new(rows: usize, threads: usize, scratch: impl Fn() -> S) -> Self {
        let count = if threads > 1 { rows.div_ceil(SLICE) } else { 1 };
        Self((0..count).map(|_| scratch()).collect())
    }

    /// Works on each slice. `parts` are what belongs to the slices, in their order.
    pub(crate) fn each<T: Send>(
        &mut self,
        team: &Team,
        mut parts: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) + Sync,
    ) {
        if let [scratch] = self.0.as_mut_slice() {
            parts.for_each(|part| work(scratch, part));
            return;
        }
        let pairs = self.0.iter_mut().zip(&mut parts);
        team.share(pairs, |(scratch, part)| work(scratch, part));
        debug_assert!(parts.next().is_none(), "there is scratch for each slice");
    }

    /// The same; then `total` is the sum of the slices' sums, in their order.
    pub(crate) fn sum<T: Send>(
        &mut self,
        team: &Team,
        parts: impl Iterator<Item = T> + Send,
        total: &mut Buffer,
        work: impl Fn(&mut S, T) + Sync,
    ) {
        if let [scratch] = self.0.as_mut_slice() {
            for (index, part) in parts.enumerate() {
                scratch.sums().fill(0.0);
                work(scratch, part);
                add(index, scratch.sums(), total);
            }
            return;
        }
        let mut used = 0;
        let counted = parts.inspect(|_| used += 1);
        self.each(team, counted, |scratch, part| {
            scratch.sums().fill(0.0);
            work(scratch, part);
        });
        for (index, scratch) in self.0.iter_mut().take(used).enumerate() {
            add(index, scratch.sums(), total);
        }
    }
}

/// Adds the sums of a slice. Those of the first one change places with the total.
fn add(index: usize, sums: &mut Buffer, total: &mut Buffer) {
    if index == 0 {
        std::mem::swap(sums, total);
    } else {
        dispatch(Add { sums, total });
    }
}

/// Adds one buffer of numbers to another.
struct Add<'a> {
    sums: &'a [f32],
    total: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (total, sum) in self.total.iter_mut().zip(self.sums) {
            *total += sum;
        }
    }
}
