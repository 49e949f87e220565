//! Batch normalisation of some images, with the ReLU and the pooling that follow it.
//!
//! Every number is read from memory once for each pass over the mini-batch: twice forward
//! (to measure, to apply) and twice backward (to add up, to apply).
#![expect(
    unsafe_code,
    reason = "pixels are read and written through raw pointers"
)]

use super::finish::{Finish, pool, through_relu, unpool};
use super::product::{load_up_to, store_up_to};
use super::simd::{Kernel, Simd};
use super::{Buffer, level::dispatch};

/// Sums of one channel that are made side by side, because each waits for its last term.
const SUMS: usize = 4;

/// What is done to each channel. All have a whole number of vectors.
pub(crate) struct Channels {
    pub(crate) count: usize,
    pub(crate) mean: Buffer,
    /// One over the standard deviation.
    pub(crate) inverse: Buffer,
    /// The learned scale times `inverse`.
    pub(crate) factor: Buffer,
    pub(crate) shift: Buffer,
    /// The gradient's own mean, which is taken away from it.
    pub(crate) common: Buffer,
    /// How much of the centred input is taken away from the gradient.
    pub(crate) slope: Buffer,
}

impl Channels {
    pub(crate) fn new(count: usize) -> Self {
        let zeros = || Buffer::zeros(count.next_multiple_of(16));
        Self {
            count,
            mean: zeros(),
            inverse: zeros(),
            factor: zeros(),
            shift: zeros(),
            common: zeros(),
            slope: zeros(),
        }
    }

    fn check(&self) {
        let len = self.count.next_multiple_of(16);
        let all = [&self.mean, &self.inverse, &self.factor, &self.shift];
        assert!(all.iter().all(|buffer| buffer.len() == len));
        assert!(self.common.len() == len && self.slope.len() == len);
    }
}

/// The pixels of an image, and what follows the normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) finish: Finish,
}

impl Pixels {
    /// The pixels before.
    pub(crate) fn count(&self) -> usize {
        self.height * self.width
    }

    /// The pixels after.
    pub(crate) fn finished(&self) -> usize {
        match self.finish {
            Finish::Plain | Finish::Relu => self.count(),
            Finish::ReluPool => (self.height / 2) * (self.width / 2),
        }
    }
}

/// The mean of each channel over `rows`, and the sum of the squared distances from it.
pub(crate) fn measure(
    rows: &[f32],
    channels: usize,
    means: &mut [f32],
    squares: &mut [f32],
) {
    assert!(rows.len().is_multiple_of(channels));
    assert!(means.len() == channels && squares.len() == channels);
    dispatch(Measure {
        rows,
        channels,
        means,
        squares,
    });
}

struct Measure<'a> {
    rows: &'a [f32],
    channels: usize,
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.rows.len() / self.channels;
        let whole = count - count % SUMS;
        let share = simd.splat(1.0 / count as f32);
        for channel in (0..self.channels).step_by(S::LANES) {
            let lanes = (self.channels - channel).min(S::LANES);
            // SAFETY: `measure` checked that all rows have all channels.
            unsafe {
                let from = self.rows.as_ptr().add(channel);
                let mut sums = [simd.splat(0.0); SUMS];
                for row in (0..whole).step_by(SUMS) {
                    for (next, sum) in sums.iter_mut().enumerate() {
                        let at = from.add((row + next) * self.channels);
                        *sum = simd.add(*sum, load_up_to(simd, at, lanes));
                    }
                }
                for row in whole..count {
                    let at = from.add(row * self.channels);
                    sums[0] = simd.add(sums[0], load_up_to(simd, at, lanes));
                }
                let mean = simd.mul(total(simd, sums), share);
                let mut squares = [simd.splat(0.0); SUMS];
                for row in (0..whole).step_by(SUMS) {
                    for (next, square) in squares.iter_mut().enumerate() {
                        let at = from.add((row + next) * self.channels);
                        let x = simd.sub(load_up_to(simd, at, lanes), mean);
                        *square = simd.fma(x, x, *square);
                    }
                }
                for row in whole..count {
                    let at = from.add(row * self.channels);
                    let x = simd.sub(load_up_to(simd, at, lanes), mean);
                    squares[0] = simd.fma(x, x, squares[0]);
                }
                let to = self.means.as_mut_ptr().add(channel);
                store_up_to(simd, to, mean, lanes);
                let to = self.squares.as_mut_ptr().add(channel);
                store_up_to(simd, to, total(simd, squares), lanes);
            }
        }
    }
}

#[inline(always)]
fn total<S: Simd>(simd: S, sums: [S::Vector; SUMS]) -> S::Vector {
    simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))
}

/// Normalises images and finishes them.
///
/// `winners` has a byte for each value of `output` if the finish pools.
pub(crate) fn normalise(
    channels: &Channels,
    pixels: Pixels,
    input: &[f32],
    output: &mut [f32],
    winners: &mut [u8],
) {
    let images = input.len() / (pixels.count() * channels.count);
    channels.check();
    assert_eq!(input.len(), images * pixels.count() * channels.count);
    assert_eq!(output.len(), images * pixels.finished() * channels.count);
    if pixels.finish == Finish::ReluPool {
        assert_eq!(winners.len(), output.len());
    }
    dispatch(Normalise {
        channels,
        pixels,
        input,
        output,
        winners,
    });
}

struct Normalise<'a> {
    channels: &'a Channels,
    pixels: Pixels,
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u8],
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (pixels, count) = (self.pixels, self.channels.count);
        let images = self.input.len() / (pixels.count() * count);
        for channel in (0..count).step_by(S::LANES) {
            let lanes = (count - channel).min(S::LANES);
            // SAFETY: `normalise` checked that all pixels have all channels and that what
            // is done to each channel has whole vectors.
            unsafe {
                let mean = simd.load(self.channels.mean.as_ptr().add(channel));
                let factor = simd.load(self.channels.factor.as_ptr().add(channel));
                let shift = simd.load(self.channels.shift.as_ptr().add(channel));
                let from = self.input.as_ptr().add(channel);
                let to = self.output.as_mut_ptr().add(channel);
                if pixels.finish != Finish::ReluPool {
                    for pixel in 0..images * pixels.count() {
                        let x = load_up_to(simd, from.add(pixel * count), lanes);
                        let mut y = simd.fma(simd.sub(x, mean), factor, shift);
                        if pixels.finish == Finish::Relu {
                            y = simd.relu(y);
                        }
                        store_up_to(simd, to.add(pixel * count), y, lanes);
                    }
                    continue;
                }
                let winners = self.winners.as_mut_ptr().add(channel);
                for place in Squares::new(images, pixels) {
                    let mut square = [mean; 4];
                    for (y, pixel) in square.iter_mut().zip(place.pixels) {
                        let x = load_up_to(simd, from.add(pixel * count), lanes);
                        *y = simd.fma(simd.sub(x, mean), factor, shift);
                    }
                    let (best, winner) = pool(simd, square);
                    store_up_to(simd, to.add(place.index * count), best, lanes);
                    simd.store_bytes(winners.add(place.index * count), winner, lanes);
                }
            }
        }
    }
}

/// Squares of 2 x 2 pixels, in the order of what is pooled from them.
struct Squares {
    index: usize,
    count: usize,
    pixels: Pixels,
    /// The place of the next square.
    y: usize,
    x: usize,
    image: usize,
}

struct Square {
    index: usize,
    pixels: [usize; 4],
}

impl Squares {
    #[inline(always)]
    fn new(images: usize, pixels: Pixels) -> Self {
        Self {
            index: 0,
            count: images * pixels.finished(),
            pixels,
            y: 0,
            x: 0,
            image: 0,
        }
    }
}

impl Iterator for Squares {
    type Item = Square;

    #[inline(always)]
    fn next(&mut self) -> Option<Square> {
        if self.index == self.count {
            return None;
        }
        let width = self.pixels.width;
        let first = self.image + 2 * (self.y * width + self.x);
        let square = Square {
            index: self.index,
            pixels: [first, first + 1, first + width, first + width + 1],
        };
        self.index += 1;
        self.x += 1;
        if self.x == width / 2 {
            self.x = 0;
            self.y += 1;
            if self.y == self.pixels.height / 2 {
                self.y = 0;
                self.image += self.pixels.count();
            }
        }
        Some(square)
    }
}

/// What the backward pass reads of some images.
#[derive(Clone, Copy)]
pub(crate) struct NormFlow<'a> {
    pub(crate) input: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) winners: &'a [u8],
}

impl NormFlow<'_> {
    fn check(&self, channels: &Channels, pixels: Pixels) {
        let images = self.input.len() / (pixels.count() * channels.count);
        channels.check();
        assert_eq!(self.input.len(), images * pixels.count() * channels.count);
        let outputs = images * pixels.finished() * channels.count;
        assert_eq!(self.output.len(), outputs);
        assert_eq!(self.output_gradient.len(), outputs);
        if pixels.finish == Finish::ReluPool {
            assert_eq!(self.winners.len(), outputs);
        }
    }
}

/// The gradients of each channel's shift and scale over some images.
pub(crate) fn add_up(
    channels: &Channels,
    pixels: Pixels,
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

struct AddUp<'a> {
    channels: &'a Channels,
    pixels: Pixels,
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
    pixels: Pixels,
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

struct Spread<'a> {
    channels: &'a Channels,
    pixels: Pixels,
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
