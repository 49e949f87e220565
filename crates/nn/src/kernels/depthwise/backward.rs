//! The gradients of weights and bias over one image.
#![expect(unsafe_code, reason = "images are read through strides")]

use super::runs::{Run, Runs, Tap};
use crate::kernels::finish::through_relu;
use crate::kernels::product::{load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// The gradient of an output before its ReLU.
pub(super) struct Mask<'a> {
    pub(super) output: &'a [f32],
    pub(super) gradient: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.to.len();
        assert!(self.output.len() == count && self.gradient.len() == count);
        for at in (0..count).step_by(S::LANES) {
            let lanes = (count - at).min(S::LANES);
            // SAFETY: all three have `count` values.
            unsafe {
                let y = load_up_to(simd, self.output.as_ptr().add(at), lanes);
                let dy = load_up_to(simd, self.gradient.as_ptr().add(at), lanes);
                let to = self.to.as_mut_ptr().add(at);
                store_up_to(simd, to, through_relu(simd, y, dy), lanes);
            }
        }
    }
}

/// Adds an image's share of the gradients to those of the others.
pub(super) struct WeightSums<'a> {
    pub(super) runs: &'a Runs,
    pub(super) channels: usize,
    pub(super) input: &'a [f32],
    /// The gradient of the output.
    pub(super) slopes: &'a [f32],
    /// A row for each weight of a channel, then the bias.
    pub(super) sums: &'a mut [f32],
}

impl Kernel for WeightSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (runs, channels) = (self.runs, self.channels);
        assert_eq!(self.input.len(), runs.sources() * channels);
        assert_eq!(self.slopes.len(), runs.targets() * channels);
        assert_eq!(self.sums.len(), (runs.weights() + 1) * channels);
        for run in runs.iter() {
            for channel in (0..channels).step_by(S::LANES) {
                let lanes = (channels - channel).min(S::LANES);
                let mut taps = run.taps.as_slice();
                // SAFETY: `Runs::new` checked all places of the run, the lines above that
                // each has all channels.
                unsafe {
                    self.bias(simd, run, channel, lanes);
                    while let Some((nine, rest)) = taps.split_first_chunk::<9>() {
                        self.taps(simd, run, nine, channel, lanes);
                        taps = rest;
                    }
                    while let Some((three, rest)) = taps.split_first_chunk::<3>() {
                        self.taps(simd, run, three, channel, lanes);
                        taps = rest;
                    }
                    while let Some((one, rest)) = taps.split_first_chunk::<1>() {
                        self.taps(simd, run, one, channel, lanes);
                        taps = rest;
                    }
                }
            }
        }
    }
}

impl WeightSums<'_> {
    /// Some weights of some channels.
    ///
    /// # Safety
    ///
    /// All places of the run must exist, with `lanes` channels from `channel` on.
    #[inline(always)]
    unsafe fn taps<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        run: &Run,
        taps: &[Tap; N],
        channel: usize,
        lanes: usize,
    ) {
        let channels = self.channels;
        let mut sums = [simd.splat(0.0); N];
        let step = run.from_step * channels;
        // SAFETY: the caller promises that the places exist.
        unsafe {
            let from = self.input.as_ptr();
            let from = taps.map(|tap| from.add(tap.from * channels + channel));
            let slopes = self.slopes.as_ptr().add(run.to * channels + channel);
            for position in 0..run.count {
                let at = position * run.to_step * channels;
                let dy = load_up_to(simd, slopes.add(at), lanes);
                for (sum, from) in sums.iter_mut().zip(from) {
                    let x = load_up_to(simd, from.add(position * step), lanes);
                    *sum = simd.fma(x, dy, *sum);
                }
            }
            for (tap, sum) in taps.iter().zip(sums) {
                let to = tap.weight * channels + channel;
                self.add(simd, to, sum, lanes);
            }
        }
    }

    /// The bias of some channels.
    ///
    /// # Safety
    ///
    /// That of [`WeightSums::taps`].
    #[inline(always)]
    unsafe fn bias<S: Simd>(&mut self, simd: S, run: &Run, channel: usize, lanes: usize) {
        let channels = self.channels;
        let mut sum = simd.splat(0.0);
        // SAFETY: the caller promises that the places exist.
        unsafe {
            let slopes = self.slopes.as_ptr().add(run.to * channels + channel);
            for position in 0..run.count {
                let at = position * run.to_step * channels;
                sum = simd.add(sum, load_up_to(simd, slopes.add(at), lanes));
            }
            let to = self.runs.weights() * channels + channel;
            self.add(simd, to, sum, lanes);
        }
    }

    /// # Safety
    ///
    /// There must be `lanes` sums from `at` on.
    #[inline(always)]
    unsafe fn add<S: Simd>(&mut self, simd: S, at: usize, sum: S::Vector, lanes: usize) {
        // SAFETY: the caller promises that they exist.
        unsafe {
            let to = self.sums.as_mut_ptr().add(at);
            let total = simd.add(load_up_to(simd, to, lanes), sum);
            store_up_to(simd, to, total, lanes);
        }
    }
}
