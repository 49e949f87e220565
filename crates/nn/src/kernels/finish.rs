//! The ReLU and the pooling that a convolution or a batch norm does before its sums leave
//! the registers. Done later, each would read and write the whole activation once more.

use super::Window;
use super::simd::Simd;

/// What is done to a sum in the same pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Nothing.
    Plain,
    /// ReLU.
    Relu,
    /// ReLU, then the largest value of each square of 2 x 2. Only the largest values and
    /// which ones they are is kept.
    ReluPool,
}

impl Finish {
    /// The pixels of an image after it.
    pub(crate) fn positions(self, window: &Window) -> usize {
        match self {
            Finish::Plain | Finish::Relu => window.positions(),
            Finish::ReluPool => (window.out_height / 2) * (window.out_width / 2),
        }
    }
}

/// The largest of four values, or zero, and its index: the first of equals. NaN wins.
#[inline(always)]
pub(crate) fn pool<S: Simd>(simd: S, values: [S::Vector; 4]) -> (S::Vector, S::Vector) {
    let mut best = values[0];
    let mut winner = simd.splat(0.0);
    for (index, value) in values.into_iter().enumerate().skip(1) {
        let wins = simd.greater_or_nan(value, best);
        best = simd.select(wins, value, best);
        winner = simd.select(wins, simd.splat(index as f32), winner);
    }
    (simd.relu(best), winner)
}

/// The gradient where the value that ReLU gave is positive.
#[inline(always)]
pub(crate) fn through_relu<S: Simd>(
    simd: S,
    output: S::Vector,
    gradient: S::Vector,
) -> S::Vector {
    let zero = simd.splat(0.0);
    simd.select(simd.greater(output, zero), gradient, zero)
}

/// The gradient at the winner and zero at the three others.
#[inline(always)]
pub(crate) fn unpool<S: Simd>(
    simd: S,
    gradient: S::Vector,
    winner: S::Vector,
) -> [S::Vector; 4] {
    let zero = simd.splat(0.0);
    let mut values = [zero; 4];
    for (index, value) in values.iter_mut().enumerate() {
        let won = simd.equal(winner, simd.splat(index as f32));
        *value = simd.select(won, gradient, zero);
    }
    values
}
