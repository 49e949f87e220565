//! Softmax and cross-entropy, in one step because together they are simpler and exact.

/// What a mini-batch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// The sum of the losses of the images.
    pub(crate) loss: f64,
    /// How many images were classified right; equal logits go to the lowest class.
    pub(crate) correct: u32,
}

/// The cost of `logits`, and the gradient of its mean if there is room for one.
pub(crate) fn cross_entropy(
    logits: &[f32],
    labels: &[u32],
    mut gradient: Option<&mut [f32]>,
) -> Cost {
    let classes = logits.len() / labels.len();
    let share = 1.0 / labels.len() as f32;
    let mut cost = Cost::default();
    for (row, (logits, &label)) in logits.chunks_exact(classes).zip(labels).enumerate() {
        let label = label as usize;
        let (best, largest) = largest(logits);
        let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        cost.loss += f64::from(total.ln() + largest - logits[label]);
        cost.correct += u32::from(best == label);
        let Some(gradient) = gradient.as_deref_mut() else {
            continue;
        };
        let gradient = &mut gradient[row * classes..(row + 1) * classes];
        for (class, (slope, logit)) in gradient.iter_mut().zip(logits).enumerate() {
            let probability = (logit - largest).exp() / total;
            *slope = (probability - f32::from(u8::from(class == label))) * share;
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
        let cost = cross_entropy(&logits, &[1, 0], Some(&mut gradient));
        assert!((cost.loss / 2.0 - EXPECTED_LOSS).abs() < 1e-6, "{cost:?}");
        assert_eq!(cost.correct, 1);
        for (actual, expected) in gradient.iter().zip(EXPECTED_GRADIENT) {
            assert!((actual - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    const EXPECTED_LOSS: f64 = 2.192_651;
    const EXPECTED_GRADIENT: [f32; 6] = [
        0.115_611_94,
        -0.185_734_15,
        0.070_122_18,
        -0.490_088_7,
        0.000_446_496,
        0.489_642_2,
    ];

    #[test]
    fn large_logits_do_not_overflow_and_infinite_ones_are_noticed() {
        let cost = cross_entropy(&[1e30, -1e30], &[0], None);
        assert_eq!(
            cost,
            Cost {
                loss: 0.0,
                correct: 1
            }
        );
        for logits in [[f32::NAN, 0.0], [0.0, f32::NAN], [f32::INFINITY, 0.0]] {
            assert!(
                !cross_entropy(&logits, &[0], None).loss.is_finite(),
                "{logits:?}"
            );
        }
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(cross_entropy(&[0.0, 0.0], &[0], None).correct, 1);
        assert_eq!(cross_entropy(&[0.0, 0.0], &[1], None).correct, 0);
    }
}
