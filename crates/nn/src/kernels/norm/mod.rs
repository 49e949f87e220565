//! Batch normalisation of some images, with the ReLU and the pooling that follow it.
//!
//! Every number is read from memory once for each pass over the mini-batch: twice forward
//! (to measure, to apply) and twice backward (to add up, to apply).

mod backward;
mod forward;

pub(crate) use self::backward::{add_up, spread};
pub(crate) use self::forward::{measure, normalise};
use super::Buffer;
use super::finish::Finish;
use super::simd::Simd;

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
pub(crate) struct NormPixels {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) finish: Finish,
}

impl NormPixels {
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

/// What the backward pass reads of some images.
#[derive(Clone, Copy)]
pub(crate) struct NormFlow<'a> {
    pub(crate) input: &'a [f32],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) winners: &'a [u8],
}

impl NormFlow<'_> {
    fn check(&self, channels: &Channels, pixels: NormPixels) {
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

/// Squares of 2 x 2 pixels, in the order of what is pooled from them.
struct Squares {
    index: usize,
    count: usize,
    pixels: NormPixels,
    /// The place of the next square.
    y: usize,
    x: usize,
    image: usize,
}

/// One square of 2 x 2 pixels, which pooling makes one pixel of.
struct Square {
    index: usize,
    pixels: [usize; 4],
}

impl Squares {
    #[inline(always)]
    fn new(images: usize, pixels: NormPixels) -> Self {
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

/// Adds up sums that were made side by side.
#[inline(always)]
fn total<S: Simd>(simd: S, sums: [S::Vector; SUMS]) -> S::Vector {
    simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))
}
