//! The loss of a mini-batch and its gradient.
//!
//! For classes it is softmax followed by cross-entropy. Both are computed in one step,
//! because the gradient of the pair is simply `probability - target`, and no logarithm of a
//! probability that was rounded to zero can occur. For numbers see [`NumberLoss`].

use crate::{Hyperparameters, LossKind};

/// The loss of a mini-batch, as a sum over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// The sum of the losses of the rows.
    pub(crate) loss: f64,
    /// How many rows were classified right; equal logits go to the lowest class.
    pub(crate) correct: u32,
}

/// The true answers of a mini-batch, as the loss sees them.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    /// The class of each image.
    pub(crate) labels: &'a [u32],
    /// The share of a label that goes to all classes in equal parts (Szegedy 2016).
    pub(crate) smoothing: f32,
    /// Mixup's lambda: the share of its own label that an image has; the rest is the label
    /// of its partner, image `n - 1 - i`. 1 without mixup.
    pub(crate) kept: f32,
    /// How much each image counts; all the same without.
    pub(crate) weights: Option<&'a [f32]>,
}

/// What a row is to be: two pairs of (class, probability), the probability that every class
/// has besides, and the sum of all, which is 1 for a row that counts once.
struct Wanted {
    own: (usize, f32),
    other: (usize, f32),
    floor: f32,
    mass: f32,
}

impl<'a> Targets<'a> {
    /// The labels as they are.
    pub(crate) fn plain(labels: &'a [u32]) -> Self {
        Self {
            labels,
            smoothing: 0.0,
            kept: 1.0,
            weights: None,
        }
    }

    /// The target probabilities of a row, times its weight. Where it is mixed, its two
    /// parts keep the weights that their rows have. A weight of 1 changes no bit.
    fn of(&self, row: usize, classes: usize) -> Wanted {
        let partner = self.labels.len() - 1 - row;
        let sharp = 1.0 - self.smoothing;
        let mut wanted = Wanted {
            own: (self.labels[row] as usize, sharp * self.kept),
            other: (self.labels[partner] as usize, sharp * (1.0 - self.kept)),
            floor: self.smoothing / classes as f32,
            mass: 1.0,
        };
        if let Some(weights) = self.weights {
            let (own, other) = (weights[row], weights[partner]);
            wanted.mass = mixed(own, other, self.kept);
            wanted.own.1 *= own;
            wanted.other.1 *= other;
            wanted.floor *= wanted.mass;
        }
        wanted
    }
}

/// The weight of a row that was mixed with another.
fn mixed(own: f32, other: f32, kept: f32) -> f32 {
    kept * own + (1.0 - kept) * other
}

/// The cost of `logits`, and the gradient of its mean if there is room for one.
///
/// Right is what agrees with an image's own label, however it was mixed or smoothed.
pub(crate) fn cross_entropy(
    logits: &[f32],
    targets: Targets<'_>,
    mut gradient: Option<&mut [f32]>,
) -> Cost {
    let rows = targets.labels.len();
    let classes = logits.len() / rows;
    let share = 1.0 / rows as f32;
    let mut cost = Cost::default();
    for (row, logits) in logits.chunks_exact(classes).enumerate() {
        let (best, largest) = largest(logits);
        let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let Wanted {
            own,
            other,
            floor,
            mass,
        } = targets.of(row, classes);
        let mut wanted = own.1 * logits[own.0];
        // Nothing times infinity would spoil the sum.
        if other.1 != 0.0 {
            wanted += other.1 * logits[other.0];
        }
        if floor != 0.0 {
            wanted += floor * logits.iter().sum::<f32>();
        }
        cost.loss += f64::from((total.ln() + largest) * mass - wanted);
        cost.correct += u32::from(best == own.0);
        let Some(gradient) = gradient.as_deref_mut() else {
            continue;
        };
        let gradient = &mut gradient[row * classes..(row + 1) * classes];
        for (slope, logit) in gradient.iter_mut().zip(logits) {
            let probability = (logit - largest).exp() / total;
            *slope = (probability * mass - floor) * share;
        }
        for (class, probability) in [own, other] {
            gradient[class] -= probability * share;
        }
    }
    cost
}

/// How sets of labels are trained on; see [`Targets`].
#[derive(Clone, Copy)]
pub(crate) struct SetTargets<'a> {
    /// For each row and each label 1 if the row has it, and 0 if not.
    pub(crate) sets: &'a [f32],
    /// How many labels there are.
    pub(crate) labels: usize,
    /// Half of this share goes to each of "has it" and "has it not".
    pub(crate) smoothing: f32,
    pub(crate) kept: f32,
    pub(crate) weights: Option<&'a [f32]>,
}

/// The binary cross-entropy of `logits`, a mean over labels, and the gradient of its mean
/// over rows if there is room for one. Right is a row of which every label is.
pub(crate) fn binary_cross_entropy(
    logits: &[f32],
    targets: SetTargets<'_>,
    mut gradient: Option<&mut [f32]>,
) -> Cost {
    let labels = targets.labels;
    let rows = logits.len() / labels;
    let share = 1.0 / (rows * labels) as f32;
    let mut cost = Cost::default();
    for (row, logits) in logits.chunks_exact(labels).enumerate() {
        let partner = rows - 1 - row;
        let weight = targets.weights.map_or(1.0, |weights| {
            mixed(weights[row], weights[partner], targets.kept)
        });
        let (mut loss, mut is_right) = (0.0_f64, true);
        for (label, &logit) in logits.iter().enumerate() {
            let own = targets.sets[row * labels + label];
            let other = targets.sets[partner * labels + label];
            let wanted = mixed(own, other, targets.kept) * (1.0 - targets.smoothing)
                + targets.smoothing / 2.0;
            // No exponential of a large number: -ln(sigmoid) is max(-z, 0) + ln(1 + exp(-|z|)).
            let rest = (-logit.abs()).exp().ln_1p();
            loss += f64::from(logit.max(0.0) - logit * wanted + rest);
            is_right &= (logit > 0.0) == (own == 1.0);
            if let Some(gradient) = gradient.as_deref_mut() {
                let probability = 1.0 / (1.0 + (-logit).exp());
                gradient[row * labels + label] = (probability - wanted) * share * weight;
            }
        }
        cost.loss += loss / labels as f64 * f64::from(weight);
        cost.correct += u32::from(is_right);
    }
    cost
}

/// The numbers that a mini-batch is to predict, standardised but for counts.
#[derive(Clone, Copy)]
pub(crate) struct NumberTargets<'a> {
    /// The number of each row.
    pub(crate) numbers: &'a [f32],
    /// The share that a row kept when it was mixed with the one as far from the other end.
    pub(crate) kept: f32,
    /// How much each row counts; all the same without.
    pub(crate) weights: Option<&'a [f32]>,
}

impl<'a> NumberTargets<'a> {
    /// The numbers as they are.
    pub(crate) fn plain(numbers: &'a [f32]) -> Self {
        Self {
            numbers,
            kept: 1.0,
            weights: None,
        }
    }
}

/// A loss of numbers with what it depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum NumberLoss {
    Squared,
    Absolute,
    /// Squared up to this error, as `torch.nn.HuberLoss`.
    Huber(f32),
    /// The share of rows that is to be below the prediction.
    Quantile(f32),
    /// As `torch.nn.PoissonNLLLoss` without its constant: the output is a logarithm.
    Poisson,
}

impl NumberLoss {
    pub(crate) fn of(loss: LossKind, hyperparameters: &Hyperparameters) -> Self {
        match loss {
            LossKind::Mae => Self::Absolute,
            LossKind::Huber => {
                Self::Huber(hyperparameters.huber_delta.unwrap_or(1.0) as f32)
            }
            LossKind::Quantile => {
                Self::Quantile(hyperparameters.quantile.unwrap_or(0.5) as f32)
            }
            LossKind::Poisson => Self::Poisson,
            _ => Self::Squared,
        }
    }

    /// The loss of an output, and its slope.
    fn of_row(self, output: f32, target: f32) -> (f64, f32) {
        let error = output - target;
        let sign = if error == 0.0 { 0.0 } else { error.signum() };
        match self {
            Self::Squared => (f64::from(error) * f64::from(error), 2.0 * error),
            Self::Absolute => (f64::from(error.abs()), sign),
            Self::Huber(delta) if error.abs() <= delta => {
                (0.5 * f64::from(error) * f64::from(error), error)
            }
            Self::Huber(delta) => {
                let beyond = f64::from(error.abs()) - 0.5 * f64::from(delta);
                (f64::from(delta) * beyond, delta * sign)
            }
            Self::Quantile(share) => {
                let slope = match error {
                    below if below < 0.0 => -share,
                    above if above > 0.0 => 1.0 - share,
                    _ => 0.0,
                };
                (f64::from(slope) * f64::from(error), slope)
            }
            Self::Poisson => {
                let count = output.exp();
                let loss = f64::from(count) - f64::from(target) * f64::from(output);
                (loss, count - target)
            }
        }
    }
}

/// The loss of `outputs`, and the gradient of its mean if there is room for one.
pub(crate) fn number_loss(
    loss: NumberLoss,
    outputs: &[f32],
    targets: NumberTargets<'_>,
    mut gradient: Option<&mut [f32]>,
) -> Cost {
    let NumberTargets {
        numbers,
        kept,
        weights,
    } = targets;
    // A product with a power of two rounds nothing, so that squares have the bits of always.
    let share = 1.0 / numbers.len() as f32;
    let partners = numbers.iter().rev();
    let mut sum = 0.0;
    for (row, ((output, own), other)) in
        outputs.iter().zip(numbers).zip(partners).enumerate()
    {
        let target = other + kept * (own - other);
        let (cost, slope) = loss.of_row(*output, target);
        let weight = weights.map_or(1.0, |weights| {
            mixed(weights[row], weights[weights.len() - 1 - row], kept)
        });
        sum += cost * f64::from(weight);
        if let Some(gradient) = gradient.as_deref_mut() {
            gradient[row] = share * slope * weight;
        }
    }
    Cost {
        loss: sum,
        correct: 0,
    }
}

/// The cross-entropy of each row times `(1 - p)^gamma`, where `p` is the probability of its
/// class, and the gradient of its mean if there is room for one (T. Lin and others, Focal loss
/// for dense object detection, ICCV 2017, with a softmax in place of sigmoids).
pub(crate) fn focal(
    logits: &[f32],
    labels: &[u32],
    gamma: f32,
    weights: Option<&[f32]>,
    mut gradient: Option<&mut [f32]>,
) -> Cost {
    let rows = labels.len();
    let classes = logits.len() / rows;
    let mut cost = Cost::default();
    for (row, logits) in logits.chunks_exact(classes).enumerate() {
        let (best, largest) = largest(logits);
        let label = labels[row] as usize;
        let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let log_p = logits[label] - largest - total.ln();
        let p = log_p.exp();
        let missing = (1.0 - p).max(0.0);
        let weight = weights.map_or(1.0, |weights| weights[row]);
        let factor = missing.powf(gamma);
        cost.loss += f64::from(-factor * log_p * weight);
        cost.correct += u32::from(best == label);
        let Some(gradient) = gradient.as_deref_mut() else {
            continue;
        };
        // The slope of the loss by the logit of the class, before its share of it.
        let bend = match missing > 0.0 && gamma > 0.0 {
            true => gamma * p * missing.powf(gamma - 1.0) * log_p,
            false => 0.0,
        };
        let slope = (bend - factor) * weight / rows as f32;
        let gradient = &mut gradient[row * classes..(row + 1) * classes];
        for (class, (target, logit)) in gradient.iter_mut().zip(logits).enumerate() {
            let probability = (logit - largest).exp() / total;
            *target = slope * (f32::from(u8::from(class == label)) - probability);
        }
    }
    cost
}

/// The first of the largest logits. NaN is never it, and spoils the loss anyway.
fn largest(logits: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (class, logit);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    // >>> logits = torch.tensor([[1.0, 2.0, 0.5], [0.1, -3.0, 4.0]], requires_grad=True)
    // >>> loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0]))
    // >>> loss.backward(); loss.item(), logits.grad.tolist()
    #[test]
    fn pytorch_agrees() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0];
        let mut gradient = [9.0; 6];
        let targets = Targets::plain(&[1, 0]);
        let cost = cross_entropy(&logits, targets, Some(&mut gradient));
        assert!((cost.loss / 2.0 - EXPECTED_LOSS).abs() < 1e-6, "{cost:?}");
        assert_eq!(cost.correct, 1);
        for (actual, expected) in gradient.iter().zip(EXPECTED_GRADIENT) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    const PYTORCH_WEIGHTED: (f64, [f32; 6]) = (
        3.056_792,
        [
            0.057_805_97,
            -0.092_867_07,
            0.035_061_096,
            -0.735_133_05,
            0.000_669_743_85,
            0.734_463_3,
        ],
    );

    const EXPECTED_LOSS: f64 = 2.192_651;
    const EXPECTED_GRADIENT: [f32; 6] = [
        0.115_611_94,
        -0.185_734_15,
        0.070_122_18,
        -0.490_088_7,
        0.000_446_496,
        0.489_642_2,
    ];

    // >>> t = 0.9 * (0.7 * one_hot([1, 0]) + 0.3 * one_hot([0, 1])) + 0.1 / 3
    // >>> loss = torch.nn.functional.cross_entropy(logits, t)
    #[test]
    fn smoothed_and_mixed_labels_are_probabilities() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0];
        let targets = Targets {
            labels: &[1, 0],
            smoothing: 0.1,
            kept: 0.7,
            weights: None,
        };
        let mut gradient = [9.0; 6];
        let cost = cross_entropy(&logits, targets, Some(&mut gradient));
        let floor = 0.1 / 3.0;
        let wanted = [
            [0.27 + floor, 0.63 + floor, floor],
            [0.63 + floor, 0.27 + floor, floor],
        ];
        let mut expected = 0.0;
        for (row, wanted) in wanted.iter().enumerate() {
            let logits = &logits[row * 3..row * 3 + 3];
            let total: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
            for (class, wanted) in wanted.iter().enumerate() {
                let probability = f64::from(logits[class]).exp() / total;
                expected -= wanted * probability.ln();
                let slope = (probability - wanted) / 2.0;
                let actual = f64::from(gradient[row * 3 + class]);
                assert!((actual - slope).abs() < 1e-6, "{gradient:?}");
            }
        }
        assert!((cost.loss - expected).abs() < 1e-5, "{cost:?} {expected}");
        assert_eq!(cost.correct, 1);
    }

    // >>> y = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    // >>> loss = torch.nn.functional.mse_loss(y, torch.tensor([0.0, 1.0, 0.5]))
    // >>> loss.backward(); loss.item(), y.grad.tolist()
    #[test]
    fn squared_errors() {
        let mut gradient = [9.0; 3];
        let (outputs, targets) = ([1.0, -2.0, 0.5], [0.0, 1.0, 0.5]);
        let plain = NumberTargets::plain(&targets);
        let cost = number_loss(NumberLoss::Squared, &outputs, plain, Some(&mut gradient));
        assert!((cost.loss / 3.0 - 3.333_333).abs() < 1e-6, "{cost:?}");
        for (actual, expected) in gradient.iter().zip([0.666_667, -2.0, 0.0]) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
        // Mixed in equal parts, the first and the last row are to be 0.25.
        let halves = NumberTargets { kept: 0.5, ..plain };
        let cost = number_loss(NumberLoss::Squared, &[0.25, 1.0, 0.25], halves, None);
        assert_eq!(cost.loss, 0.0);
    }

    // >>> y = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    // >>> t = torch.tensor([0.0, 1.0, 0.5])
    // >>> torch.nn.L1Loss()(y, t), torch.nn.HuberLoss(delta=1.5)(y, t)
    // >>> torch.nn.PoissonNLLLoss()(y, t), sklearn.metrics.mean_pinball_loss(t, y, alpha=0.9)
    #[test]
    fn losses_of_numbers_are_those_of_pytorch() {
        let check = |loss: NumberLoss, expected: f64, slopes: [f32; 3]| {
            let mut gradient = [9.0; 3];
            let targets = NumberTargets::plain(&[0.0, 1.0, 0.5]);
            let outputs = [1.0, -2.0, 0.5];
            let cost = number_loss(loss, &outputs, targets, Some(&mut gradient));
            assert!(
                (cost.loss / 3.0 - expected).abs() < 1e-6,
                "{loss:?} {cost:?}"
            );
            for (actual, expected) in gradient.iter().zip(slopes) {
                assert!((actual - expected).abs() < 1e-6, "{loss:?} {gradient:?}");
            }
        };
        let third = 1.0 / 3.0;
        check(NumberLoss::Absolute, 4.0 / 3.0, [third, -third, 0.0]);
        check(NumberLoss::Huber(1.5), 1.291_666_7, [third, -0.5, 0.0]);
        check(
            NumberLoss::Quantile(0.9),
            0.933_333_3,
            [0.033_333_33, -0.3, 0.0],
        );
        let slopes = [0.906_094, -0.288_221_6, 0.382_907];
        check(NumberLoss::Poisson, 2.084_112_8, slopes);
    }

    /// The differences are of the loss itself; without gamma it is cross-entropy.
    #[test]
    fn focal_gradients_are_those_of_the_loss() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0];
        let weights: Option<&[f32]> = Some(&[0.5, 1.5]);
        let mut gradient = [9.0; 6];
        focal(&logits, &[1, 0], 2.0, weights, Some(&mut gradient));
        for n in 0..6 {
            let loss = |step: f32| {
                let mut moved = logits;
                moved[n] += step;
                focal(&moved, &[1, 0], 2.0, weights, None).loss / 2.0
            };
            let slope = (loss(1e-2) - loss(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[n])).abs() < 1e-3,
                "{n} {gradient:?}"
            );
        }
        let plain = cross_entropy(&logits, Targets::plain(&[1, 0]), None);
        let focal = focal(&logits, &[1, 0], 0.0, None, None);
        assert!((plain.loss - focal.loss).abs() < 1e-6);
        assert_eq!(plain.correct, focal.correct);
    }

    // >>> logits = torch.tensor([[1.0, 2.0, 0.5], [0.1, -3.0, 4.0]], requires_grad=True)
    // >>> each = torch.nn.functional.cross_entropy(
    // ...     logits, torch.tensor([1, 0]), reduction='none')
    // >>> loss = (each * torch.tensor([0.5, 1.5])).mean()
    // >>> loss.backward(); loss.item(), logits.grad.tolist()
    #[test]
    fn weighted_rows_are_those_of_pytorch() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0];
        let targets = Targets {
            weights: Some(&[0.5, 1.5]),
            ..Targets::plain(&[1, 0])
        };
        let mut gradient = [9.0; 6];
        let cost = cross_entropy(&logits, targets, Some(&mut gradient));
        assert!(
            (cost.loss / 2.0 - PYTORCH_WEIGHTED.0).abs() < 1e-6,
            "{cost:?}"
        );
        for (actual, expected) in gradient.iter().zip(PYTORCH_WEIGHTED.1) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
        let mut gradient = [9.0; 3];
        // >>> ((y - t) ** 2 * torch.tensor([2.0, 0.5, 0.0])).mean(), as below
        let targets = NumberTargets {
            weights: Some(&[2.0, 0.5, 0.0]),
            ..NumberTargets::plain(&[0.0, 1.0, 1.5])
        };
        let outputs = [1.0, -2.0, 0.5];
        let cost =
            number_loss(NumberLoss::Squared, &outputs, targets, Some(&mut gradient));
        assert!((cost.loss / 3.0 - 6.5 / 3.0).abs() < 1e-6, "{cost:?}");
        for (actual, expected) in gradient.iter().zip([4.0 / 3.0, -1.0, 0.0]) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    /// Mixed, smoothed and weighted at once; the differences are of the loss.
    #[test]
    fn weighted_gradients_are_differences() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0, 0.3, 0.2, -0.1];
        let targets = Targets {
            labels: &[1, 0, 2],
            smoothing: 0.1,
            kept: 0.7,
            weights: Some(&[0.5, 2.0, 0.25]),
        };
        let mut gradient = [0.0; 9];
        cross_entropy(&logits, targets, Some(&mut gradient));
        let loss = |place: usize, by: f32| {
            let mut moved = logits;
            moved[place] += by;
            cross_entropy(&moved, targets, None).loss / 3.0
        };
        for (place, slope) in gradient.iter().enumerate() {
            let difference = (loss(place, 0.01) - loss(place, -0.01)) / 0.02;
            assert!((difference - f64::from(*slope)).abs() < 1e-4, "{place}");
        }
    }

    /// What has no weights has the bits that it had before there were any.
    #[test]
    fn a_weight_of_one_changes_no_bit() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0, 0.3, 0.2, -0.1];
        let plain = Targets {
            labels: &[1, 0, 2],
            smoothing: 0.1,
            kept: 0.7,
            weights: None,
        };
        let ones = Targets {
            weights: Some(&[1.0; 3]),
            ..plain
        };
        let (mut first, mut second) = ([0.0; 9], [0.0; 9]);
        let cost = cross_entropy(&logits, plain, Some(&mut first));
        assert_eq!(cost, cross_entropy(&logits, ones, Some(&mut second)));
        assert_eq!(first.map(f32::to_bits), second.map(f32::to_bits));
    }

    // >>> logits = torch.tensor([[1.0, 2.0, 0.5], [0.1, -3.0, 4.0]], requires_grad=True)
    // >>> sets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    // >>> loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, sets)
    // >>> loss.backward(); loss.item(), logits.grad.tolist()
    #[test]
    fn sets_of_labels_are_those_of_pytorch() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 4.0];
        let targets = SetTargets {
            sets: &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
            labels: 3,
            smoothing: 0.0,
            kept: 1.0,
            weights: None,
        };
        let mut gradient = [9.0; 6];
        let cost = binary_cross_entropy(&logits, targets, Some(&mut gradient));
        assert!((cost.loss / 2.0 - 0.620_900_1).abs() < 1e-6, "{cost:?}");
        let expected = [
            -0.044_823_57,
            0.146_799_5,
            -0.062_923_44,
            0.087_496_53,
            0.007_904_313,
            -0.002_997_706_4,
        ];
        for (actual, expected) in gradient.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
        assert_eq!(cost.correct, 0);
        let (right, huge) = (&logits[3..], [-80.0, -3.0, 4e4]);
        let second = SetTargets {
            sets: &targets.sets[3..],
            ..targets
        };
        // 0.1 is above 0, and the label is not there.
        assert_eq!(binary_cross_entropy(right, second, None).correct, 0);
        let cost = binary_cross_entropy(&huge, second, None);
        assert!(cost.correct == 1 && cost.loss.is_finite(), "{cost:?}");
    }

    #[test]
    fn gradients_of_sets_are_differences() {
        let logits = [1.0, 2.0, 0.5, 0.1, -3.0, 1.5];
        let targets = SetTargets {
            sets: &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
            labels: 2,
            smoothing: 0.1,
            kept: 0.7,
            weights: Some(&[0.5, 2.0, 0.25]),
        };
        let mut gradient = [0.0; 6];
        binary_cross_entropy(&logits, targets, Some(&mut gradient));
        let loss = |place: usize, by: f32| {
            let mut moved = logits;
            moved[place] += by;
            binary_cross_entropy(&moved, targets, None).loss / 3.0
        };
        for (place, slope) in gradient.iter().enumerate() {
            let difference = (loss(place, 0.01) - loss(place, -0.01)) / 0.02;
            assert!((difference - f64::from(*slope)).abs() < 1e-4, "{place}");
        }
    }

    #[test]
    fn large_logits_do_not_overflow_and_infinite_ones_are_noticed() {
        let cost = cross_entropy(&[1e30, -1e30], Targets::plain(&[0]), None);
        assert_eq!(
            cost,
            Cost {
                loss: 0.0,
                correct: 1
            }
        );
        for logits in [[f32::NAN, 0.0], [0.0, f32::NAN], [f32::INFINITY, 0.0]] {
            assert!(
                !cross_entropy(&logits, Targets::plain(&[0]), None)
                    .loss
                    .is_finite(),
                "{logits:?}"
            );
        }
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(
            cross_entropy(&[0.0, 0.0], Targets::plain(&[0]), None).correct,
            1
        );
        assert_eq!(
            cross_entropy(&[0.0, 0.0], Targets::plain(&[1]), None).correct,
            0
        );
    }
}
