//! Sums of weighted pixels along the runs of one image.
#![expect(unsafe_code, reason = "images are read through strides")]

use super::runs::{Run, Runs};
use crate::kernels::product::{load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// Positions whose sums are made side by side: each weight is loaded once for all of them.
const TOGETHER: usize = 6;

/// One image in, one out, of as many channels.
pub(super) struct Gather<'a> {
    pub(super) runs: &'a Runs,
    pub(super) channels: usize,
    pub(super) weights: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) from: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (runs, channels) = (self.runs, self.channels);
        assert_eq!(self.weights.len(), runs.weights() * channels);
        assert_eq!(self.from.len(), runs.sources() * channels);
        assert_eq!(self.to.len(), runs.targets() * channels);
        assert!(self.bias.is_none_or(|bias| bias.len() == channels));
        for run in runs.iter() {
            for channel in (0..channels).step_by(S::LANES) {
                let lanes = (channels - channel).min(S::LANES);
                // SAFETY: `Runs::new` checked all places of the run, the lines above that
                // each has all channels.
                unsafe { self.line(simd, run, channel, lanes) };
            }
        }
    }
}

impl Gather<'_> {
    /// Some channels of a run.
    ///
    /// # Safety
    ///
    /// All places of the run must exist, with `lanes` channels from `channel` on.
    #[inline(always)]
    unsafe fn line<S: Simd>(&mut self, simd: S, run: &Run, channel: usize, lanes: usize) {
        let start = match self.bias {
            // SAFETY: there is a bias for each channel.
            Some(bias) => unsafe { load_up_to(simd, bias.as_ptr().add(channel), lanes) },
            None => simd.splat(0.0),
        };
        let mut position = 0;
        // SAFETY: the positions are some of the run's.
        unsafe {
            while position + TOGETHER <= run.count {
                let at = (run, position);
                self.sums::<S, TOGETHER>(simd, at, start, channel, lanes);
                position += TOGETHER;
            }
            while position + 2 <= run.count {
                self.sums::<S, 2>(simd, (run, position), start, channel, lanes);
                position += 2;
            }
            if position < run.count {
                self.sums::<S, 1>(simd, (run, position), start, channel, lanes);
            }
        }
    }

    /// `N` positions of a run.
    ///
    /// # Safety
    ///
    /// That of [`Gather::line`]; the run must have the positions.
    #[inline(always)]
    unsafe fn sums<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        (run, position): (&Run, usize),
        start: S::Vector,
        channel: usize,
        lanes: usize,
    ) {
        let channels = self.channels;
        let step = run.from_step * channels;
        let mut sums = [start; N];
        for tap in &run.taps {
            // SAFETY: the caller promises that the places exist.
            unsafe {
                let weight = self.weights.as_ptr().add(tap.weight * channels + channel);
                let weight = load_up_to(simd, weight, lanes);
                let from = tap.from * channels + position * step + channel;
                let from = self.from.as_ptr().add(from);
                for (next, sum) in sums.iter_mut().enumerate() {
                    let x = load_up_to(simd, from.add(next * step), lanes);
                    *sum = simd.fma(x, weight, *sum);
                }
            }
        }
        for (next, sum) in sums.into_iter().enumerate() {
            let sum = if self.relu { simd.relu(sum) } else { sum };
            let at = (run.to + (position + next) * run.to_step) * channels + channel;
            // SAFETY: the caller promises that the places exist.
            unsafe { store_up_to(simd, self.to.as_mut_ptr().add(at), sum, lanes) };
        }
    }
}
