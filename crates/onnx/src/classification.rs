//! From a classifier's output to its best classes.

use std::cmp::Ordering;

use crate::Head;

/// What a classifier's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Raw scores, because the query or the metadata says so. Softmax turns them into
    /// probabilities; of a single one, the logistic function does.
    Logits,
    /// The sums of a layer with weights. They are logits, unless the model predicts numbers.
    Layer,
    /// The logarithms of probabilities.
    LogProbabilities,
    /// Probabilities of classes that exclude each other.
    Softmax,
    /// A probability for each class, whatever the others are.
    Sigmoid,
    /// Probabilities, because someone says so.
    Probabilities,
    /// A number to predict, which is no class.
    Number,
    /// Sorted values, whose places are no classes.
    Sorted,
    /// Neither the graph nor anyone says what they are. Values between 0 and 1 whose sum is 1
    /// are taken for probabilities, all others for logits.
    Unknown,
}

/// Why an output has no classes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoClasses {
    /// Softmax of one number is 1 whatever the number.
    #[error(
        "is a softmax of one number, which is 1 whatever the image; the model was \
         exported wrongly"
    )]
    OneOfOne,
    /// The output is one number, and nothing says whether it is a logit, a probability or a
    /// prediction.
    #[error(
        "is one number, and not known to be a probability; give two labels and say what \
         the number is with output_kind, 'logits' or 'probabilities', or take the number \
         with predict"
    )]
    OneNumber,
    /// The model predicts a number.
    #[error("is a number that the model predicts, no class; take it with predict")]
    Number,
    /// The values are sorted, so the place of a value does not say which class it is of.
    #[error("is sorted, so that its places are no classes; choose another output")]
    Sorted,
    /// A value lies outside of 0 to 1, though the values were said to be probabilities.
    #[error("was said to hold probabilities, and holds {0}; leave output_kind out")]
    NoProbability(f32),
}

impl OutputKind {
    /// Reads the name that a query gives.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "logits" => Some(Self::Logits),
            "probabilities" => Some(Self::Probabilities),
            _ => None,
        }
    }

    /// Reads the name that a model's metadata gives.
    pub(crate) fn of_metadata(name: &str) -> Option<Self> {
        match name {
            "number" => Some(Self::Number),
            name => Self::parse(name),
        }
    }

    /// What an output is by its last operator and by what someone says of it, or `None`
    /// where these contradict each other.
    pub(crate) fn of(head: Head, stated: Option<Self>) -> Option<Self> {
        match (head, stated) {
            (_, Some(Self::Number)) => Some(Self::Number),
            (Head::Sorted, _) => Some(Self::Sorted),
            (Head::Softmax, None | Some(Self::Probabilities)) => Some(Self::Softmax),
            (Head::Sigmoid, None | Some(Self::Probabilities)) => Some(Self::Sigmoid),
            // The softmax of logarithms of probabilities is the probabilities.
            (Head::LogSoftmax, None | Some(Self::Logits)) => Some(Self::LogProbabilities),
            (Head::Softmax | Head::Sigmoid | Head::LogSoftmax, Some(_)) => None,
            (Head::Linear, None) => Some(Self::Layer),
            (Head::Linear | Head::Other, Some(stated)) => Some(stated),
            (Head::Other, None) => Some(Self::Unknown),
        }
    }

    /// Whether values of this kind are probabilities as they are.
    pub fn are_probabilities(self) -> bool {
        matches!(self, Self::Softmax | Self::Sigmoid | Self::Probabilities)
    }

    /// Checks that an output of so many numbers has classes, where that does not depend on
    /// the numbers. `labels` is how many names of classes there are.
    pub fn check(self, numbers: usize, labels: usize) -> Result<(), NoClasses> {
        match self {
            Self::Number => Err(NoClasses::Number),
            Self::Sorted => Err(NoClasses::Sorted),
            _ if numbers != 1 => Ok(()),
            Self::Softmax | Self::LogProbabilities => Err(NoClasses::OneOfOne),
            Self::Unknown => Err(NoClasses::OneNumber),
            Self::Layer if labels != 2 => Err(NoClasses::OneNumber),
            _ => Ok(()),
        }
    }
}

/// The probability of each class.
///
/// One number for two labels is the probability of the second, or its logit.
pub fn scores(
    output: Vec<f32>,
    kind: OutputKind,
    labels: usize,
) -> Result<Vec<f32>, NoClasses> {
    kind.check(output.len(), labels)?;
    if kind == OutputKind::Probabilities
        && let Some(value) = output.iter().find(|value| is_no_probability(**value))
    {
        return Err(NoClasses::NoProbability(*value));
    }
    let [number] = output.as_slice() else {
        return Ok(of_several(output, kind));
    };
    let probability = if kind.are_probabilities() {
        *number
    } else {
        logistic(*number)
    };
    match labels {
        2 => Ok(vec![1.0 - probability, probability]),
        _ => Ok(vec![probability]),
    }
}

fn of_several(output: Vec<f32>, kind: OutputKind) -> Vec<f32> {
    match kind {
        kind if kind.are_probabilities() => output,
        OutputKind::LogProbabilities => output.into_iter().map(f32::exp).collect(),
        OutputKind::Logits => softmax(&output),
        _ if are_probabilities(&output) => output,
        _ => softmax(&output),
    }
}

/// NaN is none either, but says itself what it is.
fn is_no_probability(value: f32) -> bool {
    !value.is_nan() && !(-1e-3..=1.0 + 1e-3).contains(&value)
}

fn logistic(logit: f32) -> f32 {
    narrow(1.0 / (1.0 + (-f64::from(logit)).exp()))
}

fn are_probabilities(output: &[f32]) -> bool {
    let sum: f32 = output.iter().sum();
    output.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 1e-3
}

/// The largest logit is subtracted first, so that none overflows. The sum is taken in
/// float64, or a thousand small classes would lose their last digits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials
        .into_iter()
        .map(|value| narrow(value / sum))
        .collect()
}

/// A probability needs no more digits than the network gave.
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The `k` largest scores with their indices, best first.
///
/// Ties go to the lower index. NaN comes last: a diverged network must not look
/// confident.
pub fn top_k(scores: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, best_first);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(best_first);
    ranked
}

fn best_first((m, a): &(usize, f32), (n, b): &(usize, f32)) -> Ordering {
    b.partial_cmp(a)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        .then(m.cmp(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f32], k: usize, expected: &[usize]) {
        let indices: Vec<usize> =
            top_k(scores, k).into_iter().map(|(idx, _)| idx).collect();
        assert_eq!(indices, expected, "scores: {scores:?}");
    }

    #[test]
    fn the_largest_come_first() {
        check(&[0.1, 0.7, 0.2], 2, &[1, 2]);
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        check(&[0.5, 0.1, 0.5, 0.5], 3, &[0, 2, 3]);
    }

    #[test]
    fn nan_comes_last() {
        check(
            &[f32::NAN, 0.1, f32::NAN, f32::NEG_INFINITY],
            4,
            &[1, 3, 0, 2],
        );
    }

    #[test]
    fn k_may_be_zero_or_more_than_there_are() {
        check(&[0.1, 0.2], 0, &[]);
        check(&[0.1, 0.2], 5, &[1, 0]);
    }

    #[track_caller]
    fn scored(output: &[f32], kind: OutputKind) -> Vec<f32> {
        scores(output.to_vec(), kind, 0).unwrap()
    }

    #[test]
    fn softmax_sums_to_one_and_does_not_overflow() {
        let probabilities = scored(&[1000.0, 999.0], OutputKind::Logits);
        // 1 / (1 + exp(-1))
        assert!((probabilities[0] - 0.731_058_6).abs() < 1e-6);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn probabilities_stay_as_they_are() {
        let given = [0.25, 0.75];
        for kind in [
            OutputKind::Probabilities,
            OutputKind::Softmax,
            OutputKind::Sigmoid,
            OutputKind::Unknown,
        ] {
            assert_eq!(scored(&given, kind), given);
        }
        assert_ne!(scored(&given, OutputKind::Logits), given);
        assert_ne!(scored(&[2.0, -1.0], OutputKind::Unknown), [2.0, -1.0]);
    }

    #[test]
    fn classes_that_do_not_exclude_each_other_keep_their_probabilities() {
        assert_eq!(
            scored(&[0.9, 0.8, 0.0], OutputKind::Sigmoid),
            [0.9, 0.8, 0.0]
        );
    }

    #[test]
    fn logarithms_become_what_they_are_of() {
        let logarithms = [0.25_f32.ln(), 0.75_f32.ln()];
        let probabilities = scored(&logarithms, OutputKind::LogProbabilities);
        assert!((probabilities[0] - 0.25).abs() < 1e-6, "{probabilities:?}");
    }

    #[test]
    fn one_number_is_the_probability_of_the_second_of_two_labels() {
        let check = |kind, number: f32, labels, expected: Result<&[f32], NoClasses>| {
            let scores = scores(vec![number], kind, labels);
            assert_eq!(scores.as_deref(), expected.as_ref().map(|x| *x), "{kind:?}");
        };
        check(OutputKind::Sigmoid, 0.25, 2, Ok(&[0.75, 0.25]));
        check(OutputKind::Sigmoid, 0.25, 1, Ok(&[0.25]));
        check(OutputKind::Sigmoid, 0.25, 0, Ok(&[0.25]));
        check(OutputKind::Probabilities, 0.25, 2, Ok(&[0.75, 0.25]));
        check(OutputKind::Logits, 0.0, 2, Ok(&[0.5, 0.5]));
        check(OutputKind::Logits, 0.0, 0, Ok(&[0.5]));
        check(OutputKind::Layer, 0.0, 2, Ok(&[0.5, 0.5]));
        check(OutputKind::Layer, 0.0, 1, Err(NoClasses::OneNumber));
        check(OutputKind::Unknown, 0.5, 2, Err(NoClasses::OneNumber));
        check(OutputKind::Softmax, 1.0, 2, Err(NoClasses::OneOfOne));
        check(
            OutputKind::LogProbabilities,
            0.0,
            2,
            Err(NoClasses::OneOfOne),
        );
        check(OutputKind::Number, 3.0, 2, Err(NoClasses::Number));
    }

    #[test]
    fn what_is_said_to_be_a_probability_must_be_one() {
        let error = scores(vec![0.5, 3.5], OutputKind::Probabilities, 0).unwrap_err();
        assert_eq!(error, NoClasses::NoProbability(3.5));
    }

    #[test]
    fn the_last_operator_and_what_is_said_must_agree() {
        let check = |head, stated, expected| {
            assert_eq!(
                OutputKind::of(head, stated),
                expected,
                "{head:?} {stated:?}"
            );
        };
        let (logits, probabilities) = (OutputKind::Logits, OutputKind::Probabilities);
        check(Head::Softmax, None, Some(OutputKind::Softmax));
        check(
            Head::Softmax,
            Some(probabilities),
            Some(OutputKind::Softmax),
        );
        check(Head::Softmax, Some(logits), None);
        check(Head::Sigmoid, Some(logits), None);
        check(
            Head::LogSoftmax,
            Some(logits),
            Some(OutputKind::LogProbabilities),
        );
        check(Head::LogSoftmax, Some(probabilities), None);
        check(Head::Linear, None, Some(OutputKind::Layer));
        check(Head::Linear, Some(logits), Some(logits));
        check(Head::Other, Some(probabilities), Some(probabilities));
        check(Head::Other, None, Some(OutputKind::Unknown));
    }
}
