//! How much each row counts in the loss while training.

use crate::{Dataset, Error, Hyperparameters, Labels, Split};

/// The weight of each row: its own times that of its class, with the mean 1 over the
/// training split, so that weights do not change how large steps are. None where all rows
/// count alike.
pub(crate) fn row_weights(
    dataset: &Dataset,
    split: &Split,
    hyperparameters: &Hyperparameters,
) -> Result<Option<Vec<f32>>, Error> {
    let of_class = match &hyperparameters.class_weights {
        Some(weights) => {
            let names = dataset.labels.class_names();
            let mut rows = vec![0; names.len()];
            for row in &split.train {
                rows[dataset.labels.indices()[*row as usize] as usize] += 1;
            }
            Some(weights.of(names, &rows)?)
        }
        None => None,
    };
    if of_class.is_none() && dataset.weights.is_none() {
        return Ok(None);
    }
    let weight = |row: usize| {
        let own = dataset.weights.as_ref().map_or(1.0, |weights| weights[row]);
        let class = match (&of_class, &dataset.labels) {
            (Some(weights), Labels::Classes { indices, .. }) => {
                weights[indices[row] as usize]
            }
            _ => 1.0,
        };
        own * class
    };
    let total: f64 = split.train.iter().map(|row| weight(*row as usize)).sum();
    let mean = total / split.train.len() as f64;
    if mean <= 0.0 {
        return Err(Error::Dataset {
            problem:
                "all rows to train on have the weight 0, so that there is nothing to \
                      learn"
                    .to_owned(),
        });
    }
    let rows = 0..dataset.len();
    Ok(Some(rows.map(|row| (weight(row) / mean) as f32).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClassWeights;

    #[test]
    fn the_mean_over_the_training_split_is_one() {
        let labels = Labels::Classes {
            indices: vec![0, 0, 0, 1, 1],
            names: ["a", "b"].map(String::from).to_vec(),
        };
        let dataset = Dataset::of_numbers(1, vec![0.0; 5], labels).unwrap();
        let split = Split {
            train: vec![0, 1, 2, 3],
            validation: vec![4],
        };
        let plain = Hyperparameters::default();
        assert_eq!(row_weights(&dataset, &split, &plain).unwrap(), None);
        // >>> sklearn.utils.class_weight.compute_sample_weight("balanced", [0, 0, 0, 1])
        let balanced = Hyperparameters {
            class_weights: Some(ClassWeights::Balanced),
            ..Hyperparameters::default()
        };
        let third = 2.0_f32 / 3.0;
        let expected = [third, third, third, 2.0, 2.0];
        let weights = row_weights(&dataset, &split, &balanced).unwrap().unwrap();
        for (weight, expected) in weights.iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-6, "{weights:?}");
        }
        let dataset = dataset.with_weights(vec![2.0, 0.0, 1.0, 1.0, 9.0]).unwrap();
        let weights = row_weights(&dataset, &split, &plain).unwrap().unwrap();
        assert_eq!(weights, [2.0, 0.0, 1.0, 1.0, 9.0]);
        let none = Split {
            train: vec![1],
            ..split
        };
        assert!(row_weights(&dataset, &none, &plain).is_err());
    }
}
