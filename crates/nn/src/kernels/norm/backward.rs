//! The backward pass of batch normalisation over some images.
#![expect(
    unsafe_code,
    reason = "pixels are read and written through raw pointers"
)]

use super::{Channels, NormFlow, NormPixels, SUMS, Squares, total};
use crate::kernels::finish::{Finish, through_relu, unpool};
use crate::kernels::level::dispatch;
use crate::kernels::product::{load_up_to, store_up_to};
use crate::kernels::simd::{Kernel, Simd};

/// The gradients of each channel's shift and scale over some images.
pub(crate) fn add_up(
    channels: &Channels,
    pixels: NormPixels,
    flow: NormFlow<'_>,
    shifts: &mut [f32],
    scales: &mut [f32],
) {
    flow.check(channels, pixels);
    assert!(shifts.len() == channels.count && scales.len() == channels.count);
    dispatch(AddUp {
        channels,
        pixels,
        flow,
        shifts,
        scales,
    });
}

/// The first half of the backward pass: sums over all pixels, for each channel.
struct AddUp<'a> {
    channels: &'a Channels,
    pixels: NormPixels,
    flow: NormFlow<'a>,
    shifts: &'a mut [f32],
    scales: &'a mut [f32],
}

impl Kernel for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.channels.count;
        for channel in (0..count).step_by(S::LANES) {
            let lanes = (count - channel).min(S::LANES);
            let (shift, scale) = self.channel(simd, channel, lanes);
            // SAFETY: `add_up` checked that there is one of each a channel.
            unsafe {
                let to = self.shifts.as_mut_ptr().add(channel);
                store_up_to(simd, to, shift, lanes);
                let to = self.scales.as_mut_ptr().add(channel);
                store_up_to(simd, to, scale, lanes);
            }
        }
    }
}

impl AddUp<'_> {
    #[inline(always)]
    fn channel<S: Simd>(
        &self,
        simd: S,
        channel: usize,
        lanes: usize,
    ) -> (S::Vector, S::Vector) {
        let (pixels, count) = (self.pixels, self.channels.count);
        let mut shifts = [simd.splat(0.0); SUMS];
        let mut scales = shifts;
        // SAFETY: `NormFlow::check` saw that all pixels have all channels and that what is
        // done to each channel has whole vectors.
        unsafe {
            let mean = simd.load(self.channels.mean.as_ptr().add(channel));
            let inverse = simd.load(self.channels.inverse.as_ptr().add(channel));
            let factor = simd.load(self.channels.factor.as_ptr().add(channel));
            let shift_by = simd.load(self.channels.shift.as_ptr().add(channel));
            let input = self.flow.input.as_ptr().add(channel);
            let output = self.flow.output.as_ptr().add(channel);
            let gradient = self.flow.output_gradient.as_ptr().add(channel);
            let images = self.flow.input.len() / (pixels.count() * count);
            if pixels.finish == Finish::ReluPool {
                let winners = self.flow.winners.as_ptr().add(channel);
                for place in Squares::new(images, pixels) {
                    let at = place.index * count;
                    let y = load_up_to(simd, output.add(at), lanes);
                    let dy = load_up_to(simd, gradient.add(at), lanes);
                    let dy = through_relu(simd, y, dy);
                    let winner = simd.load_bytes(winners.add(at), lanes);
                    let mut x = mean;
                    for (index, pixel) in place.pixels.into_iter().enumerate() {
                        let won = simd.equal(winner, simd.splat(index as f32));
                        let value = load_up_to(simd, input.add(pixel * count), lanes);
                        x = simd.select(won, value, x);
                    }
                    // Which of the sums makes no difference but must not depend on
                    // anything else.
                    shifts.rotate_left(1);
                    scales.rotate_left(1);
                    shifts[0] = simd.add(shifts[0], dy);
                    scales[0] = simd.fma(dy, simd.sub(x, mean), scales[0]);
                }
            } else {
                let pixels_count = images * pixels.count();
                let relu = pixels.finish == Finish::Relu;
                for pixel in (0..pixels_count).step_by(SUMS) {
                    let sums = shifts.iter_mut().zip(&mut scales);
                    for (next, (shift, scale)) in sums.enumerate() {
                        if pixel + next >= pixels_count {
                            break;
                        }
                        let at = (pixel + next) * count;
                        let mut dy = load_up_to(simd, gradient.add(at), lanes);
                        let x = load_up_to(simd, input.add(at), lanes);
                        let centred = simd.sub(x, mean);
                        if relu {
                            // Cheaper than to read it.
                            let y = simd.fma(centred, factor, shift_by);
                            dy = through_relu(simd, y, dy);
                        }
                        *shift = simd.add(*shift, dy);
                        *scale = simd.fma(dy, centred, *scale);
                    }
                }
            }
            (total(simd, shifts), simd.mul(total(simd, scales), inverse))
        }
    }
}

/// The gradient of the input of some images, once `common` and `slope` of all channels are
/// known.
pub(crate) fn spread(
    channels: &Channels,
    pixels: NormPixels,
    flow: NormFlow<'_>,
    input_gradient: &mut [f32],
) {
    flow.check(channels, pixels);
    assert_eq!(input_gradient.len(), flow.input.len());
    dispatch(Spread {
        channels,
        pixels,
        flow,
        to: input_gradient,
    });
}

/// The second half of the backward pass: the gradient of each input, from those sums.
struct Spread<'a> {
    channels: &'a Channels,
    pixels: NormPixels,
    flow: NormFlow<'a>,
    to: &'a mut [f32],
}

/// What turns the gradient of one vector of channels into that of the input.
#[derive(Clone, Copy)]
struct Turn<V> {
    mean: V,
    factor: V,
    shift: V,
    common: V,
    slope: V,
}

impl<V: Copy> Turn<V> {
    /// What the forward pass made of `x`: cheaper than to read it.
    #[inline(always)]
    fn forward<S: Simd<Vector = V>>(&self, simd: S, x: V) -> V {
        simd.fma(simd.sub(x, self.mean), self.factor, self.shift)
    }

    /// `factor * (dy - common - (x - mean) * slope)`; `slope` has its sign turned.
    #[inline(always)]
    fn apply<S: Simd<Vector = V>>(&self, simd: S, x: V, dy: V) -> V {
        let centred = simd.sub(x, self.mean);
        let dy = simd.fma(centred, self.slope, simd.sub(dy, self.common));
        simd.mul(dy, self.factor)
    }
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let count = self.channels.count;
        for channel in (0..count).step_by(S::LANES) {
            let lanes = (count - channel).min(S::LANES);
            // SAFETY: `Channels::check` saw whole vectors.
            let turn = unsafe {
                Turn {
                    mean: simd.load(self.channels.mean.as_ptr().add(channel)),
                    factor: simd.load(self.channels.factor.as_ptr().add(channel)),
                    shift: simd.load(self.channels.shift.as_ptr().add(channel)),
                    common: simd.load(self.channels.common.as_ptr().add(channel)),
                    slope: simd.load(self.channels.slope.as_ptr().add(channel)),
                }
            };
            if self.pixels.finish == Finish::ReluPool {
                self.pooled(simd, &turn, channel, lanes);
            } else {
                self.plain(simd, &turn, channel, lanes);
            }
        }
    }
}

impl Spread<'_> {
    #[inline(always)]
    fn plain<S: Simd>(
        &mut self,
        simd: S,
        turn: &Turn<S::Vector>,
        channel: usize,
        lanes: usize,
    ) {
        let count = self.channels.count;
        let relu = self.pixels.finish == Finish::Relu;
        for pixel in 0..self.flow.input.len() / count {
            let at = pixel * count + channel;
            // SAFETY: `NormFlow::check` saw that all pixels have all channels.
            unsafe {
                let gradient = self.flow.output_gradient.as_ptr().add(at);
                let mut dy = load_up_to(simd, gradient, lanes);
                let x = load_up_to(simd, self.flow.input.as_ptr().add(at), lanes);
                if relu {
                    dy = through_relu(simd, turn.forward(simd, x), dy);
                }
                let dx = turn.apply(simd, x, dy);
                store_up_to(simd, self.to.as_mut_ptr().add(at), dx, lanes);
            }
        }
    }

    #[inline(always)]
    fn pooled<S: Simd>(
        &mut self,
        simd: S,
        turn: &Turn<S::Vector>,
        channel: usize,
        lanes: usize,
    ) {
        let (pixels, count) = (self.pixels, self.channels.count);
        let images = self.flow.input.len() / (pixels.count() * count);
        for place in Squares::new(images, pixels) {
            let at = place.index * count + channel;
            // SAFETY: `NormFlow::check` saw that all pixels have all channels.
            unsafe {
                let y = load_up_to(simd, self.flow.output.as_ptr().add(at), lanes);
                let gradient = self.flow.output_gradient.as_ptr().add(at);
                let dy = through_relu(simd, y, load_up_to(simd, gradient, lanes));
                let winners = self.flow.winners.as_ptr().add(at);
                let square = unpool(simd, dy, simd.load_bytes(winners, lanes));
                for (dy, pixel) in square.into_iter().zip(place.pixels) {
                    self.one(simd, turn, pixel * count + channel, dy, lanes);
                }
            }
        }
        // What lies in no square.
        let zero = simd.splat(0.0);
        let (height, width) = (pixels.height & !1, pixels.width & !1);
        for image in 0..images {
            for y in 0..pixels.height {
                let start = if y < height { width } else { 0 };
                for x in start..pixels.width {
                    let pixel = image * pixels.count() + y * pixels.width + x;
                    self.one(simd, turn, pixel * count + channel, zero, lanes);
                }
            }
        }
    }

    #[inline(always)]
    fn one<S: Simd>(
        &mut self,
        simd: S,
        turn: &Turn<S::Vector>,
        at: usize,
        dy: S::Vector,
        lanes: usize,
    ) {
        // SAFETY: `NormFlow::check` saw that all pixels have all channels.
        unsafe {
            let x = load_up_to(simd, self.flow.input.as_ptr().add(at), lanes);
            let dx = turn.apply(simd, x, dy);
            store_up_to(simd, self.to.as_mut_ptr().add(at), dx, lanes);
        }
    }
}
