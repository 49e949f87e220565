//! Mixup (Zhang, Cisse, Dauphin and Lopez-Paz 2018): images become mixtures of two.

use crate::random::Stream;

/// Mixes the images of a mini-batch with each other.
pub(crate) struct Mixup {
    alpha: f64,
    stream: Stream,
}

impl Mixup {
    pub(crate) fn new(alpha: f64, seed: u64) -> Self {
        Self {
            alpha,
            stream: Stream::new(seed, "mixup"),
        }
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Mixes image `i` of a mini-batch of `n` with image `n - 1 - i`, in place.
    ///
    /// `images` is `[n, values]`, one image after the other. Returns lambda, the share of
    /// itself that each image keeps; the loss needs it, see [`crate::loss::Targets::kept`].
    /// The order of a mini-batch is random, so pairing it with its own reversal is as good as
    /// with a second mini-batch, and needs none.
    pub(crate) fn mix(&mut self, images: &mut [f32], values: usize) -> f32 {
        let kept = self.draw();
        let pairs = images.len() / values / 2;
        let (first, second) = images.split_at_mut(images.len() - pairs * values);
        let partners = second.chunks_exact_mut(values).rev();
        for (image, partner) in first.chunks_exact_mut(values).zip(partners) {
            for (a, b) in image.iter_mut().zip(partner) {
                let (own, other) = (*a, *b);
                *a = other + kept * (own - other);
                *b = own + kept * (other - own);
            }
        }
        kept
    }

    /// Draws lambda from the beta distribution whose two parameters are both `alpha`, by
    /// Johnk's method of 1964, which is exact where `alpha` is at most 1.
    fn draw(&mut self) -> f32 {
        loop {
            let [x, y] = [(); 2].map(|()| {
                let unit = f64::from(self.stream.unit());
                unit.powf(1.0 / self.alpha)
            });
            let sum = x + y;
            if sum > 0.0 && sum <= 1.0 {
                return (x / sum) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_and_its_partner_keep_their_sum() {
        let mut images = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
        let kept = Mixup::new(0.5, 1).mix(&mut images, 2);
        let mixed = |own: f32, other: f32| kept * own + (1.0 - kept) * other;
        let expected = [
            mixed(1.0, 4.0),
            mixed(10.0, 40.0),
            2.0,
            20.0,
            mixed(4.0, 1.0),
            mixed(40.0, 10.0),
        ];
        for (image, expected) in images.iter().zip(expected) {
            assert!((image - expected).abs() < 1e-4, "{images:?} {expected}");
        }
    }

    // The variance of the beta distribution is 1 / (4 * (2 * alpha + 1)).
    #[test]
    fn shares_have_the_moments_of_the_beta_distribution() {
        for alpha in [0.1, 0.4, 1.0] {
            let mut mixup = Mixup::new(alpha, 7);
            let draws: Vec<f64> = (0..20_000).map(|_| f64::from(mixup.draw())).collect();
            let mean = draws.iter().sum::<f64>() / 20_000.0;
            let variance =
                draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: mean {mean}");
            assert!(
                (variance - expected).abs() < 0.005,
                "{alpha}: variance {variance}"
            );
        }
    }

    #[test]
    fn a_tiny_alpha_ends() {
        let mut mixup = Mixup::new(0.001, 7);
        assert!(
            (0..100)
                .map(|_| mixup.draw())
                .all(|x| (0.0..=1.0).contains(&x))
        );
    }
}
