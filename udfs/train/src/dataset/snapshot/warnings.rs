//! What is odd about a dataset, though networks can be trained on it.
//!
//! A sentence does not name the dataset, so that a trial's record can keep it.

use std::collections::BTreeSet;

use atoll_nn::{Labels, Split};

use crate::dataset::{Features, Table};

/// With fewer rows a class than this, labels may be numbers or names of single things.
const ROWS_PER_CLASS: usize = 4;

/// So few classes are never too many.
const FEW_CLASSES: usize = 20;

/// The names that a sentence lists.
const NAMED: usize = 3;

/// What is odd about labels and features.
pub(super) fn of_table(table: &Table, labels: &Labels) -> Vec<String> {
    let mut warnings = match labels {
        Labels::Classes { indices, names } => of_classes(indices, names),
        Labels::Sets { .. } => vec![],
        Labels::Numbers(numbers) => match numbers.split_first() {
            Some((first, rest)) if rest.iter().all(|number| number == first) => {
                vec![format!(
                    "all labels are {first}, so there is nothing to learn"
                )]
            }
            _ => vec![],
        },
    };
    warnings.extend(constant_features(&table.features));
    warnings
}

fn of_classes(indices: &[u32], names: &[String]) -> Vec<String> {
    let mut rows = vec![0_usize; names.len()];
    for index in indices {
        rows[*index as usize] += 1;
    }
    let unused: Vec<usize> = (0..rows.len()).filter(|class| rows[*class] == 0).collect();
    let classes = rows.len() - unused.len();
    let mut names = names.iter().enumerate();
    let are_indices = names.all(|(class, name)| *name == class.to_string());
    let mut warnings = Vec::new();
    if let (Some(first), true) = (unused.first(), are_indices) {
        warnings.push(format!(
            "the labels go up to {}, but {} of these {} classes have no row, such as {first}; \
             number the classes from 0, or make the labels text",
            rows.len() - 1,
            unused.len(),
            rows.len()
        ));
    }
    if classes > FEW_CLASSES && indices.len() < ROWS_PER_CLASS * classes {
        warnings.push(format!(
            "the labels have {classes} different values in {} rows, and each is a class; \
             cast them to DOUBLE if they are numbers to predict, or name the column of \
             classes in the options: {{label: '...'}}",
            indices.len()
        ));
    }
    warnings
}

/// Columns that say the same of all rows. Lists are left alone, because the pixels at the
/// edge of an image often do.
fn constant_features(features: &Features) -> Option<String> {
    let Features::Numbers(numbers) = features else {
        return None;
    };
    if numbers.len() < 2 {
        return None;
    }
    let mut place = 0;
    let mut same = Vec::new();
    for (name, list) in &numbers.columns {
        let mut column = numbers.column(place);
        if list.is_none() && column.all(|n| n == numbers.values[place]) {
            same.push(name.as_str());
        }
        place += list.unwrap_or(1);
    }
    let are = match same.as_slice() {
        [] => return None,
        [_] => "is",
        _ => "are",
    };
    Some(format!(
        "{} {are} the same in all rows, so that nothing can be learned from it",
        listed("the feature", "the features", &same)
    ))
}

/// Classes of which a split has rows that validate and none that train and, if `both`, the
/// other way round.
pub(in crate::dataset) fn of_split(
    labels: &Labels,
    split: &Split,
    both: bool,
) -> Vec<String> {
    let Labels::Classes { indices, names } = labels else {
        return vec![];
    };
    let classes = |rows: &[u32]| -> BTreeSet<u32> {
        rows.iter().map(|row| indices[*row as usize]).collect()
    };
    let (trained, validated) = (classes(&split.train), classes(&split.validation));
    let only = |of: &BTreeSet<u32>, other: &BTreeSet<u32>| -> Vec<&str> {
        of.difference(other)
            .map(|class| names[*class as usize].as_str())
            .collect()
    };
    let mut warnings = Vec::new();
    let missing = only(&validated, &trained);
    let (have, it) = match missing.len() {
        1 => ("has", "it"),
        _ => ("have", "them"),
    };
    if !missing.is_empty() {
        warnings.push(format!(
            "{} {have} rows for validation and none to train on, so that no network can learn \
             to tell {it}",
            listed("the class", "the classes", &missing),
        ));
    }
    let missing = only(&trained, &validated);
    let have = if missing.len() == 1 { "has" } else { "have" };
    if both && !missing.is_empty() {
        warnings.push(format!(
            "{} {have} no row to validate on, so that no score speaks of it; add rows, or \
             give a larger validation_fraction or folds",
            listed("the class", "the classes", &missing),
        ));
    }
    warnings
}

/// `the class a`, or `the classes a, b, c and 2 more`.
pub(in crate::dataset) fn listed(one: &str, several: &str, names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    let more = names.len().saturating_sub(NAMED);
    match (names.len(), more) {
        (1, _) => format!("{one} {shown}"),
        (_, 0) => format!("{several} {shown}"),
        _ => format!("{several} {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::table::tests::{images, numbers};

    fn classes(indices: Vec<u32>) -> Labels {
        let count = indices.iter().max().unwrap() + 1;
        Labels::Classes {
            indices,
            names: (0..count).map(|class| class.to_string()).collect(),
        }
    }

    #[track_caller]
    fn check(labels: &Labels, expected: &[&str]) {
        let warnings = of_table(&images(&[], &[]), labels);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{warning}");
        }
    }

    #[test]
    fn labels_that_may_be_something_else() {
        check(&classes([0, 1, 1, 0].to_vec()), &[]);
        check(
            &classes([3, 40_000].repeat(10)),
            &["go up to 40000, but 39999 of these 40001 classes have no row, such as 0"],
        );
        check(
            &classes((0..100).chain(0..90).collect()),
            &["the labels have 100 different values in 190 rows"],
        );
        check(&classes((0..20).collect()), &[]);
        check(
            &Labels::Numbers(vec![2.5; 3]),
            &["all labels are 2.5, so there is nothing to learn"],
        );
        check(&Labels::Numbers(vec![2.5, 2.0]), &[]);
    }

    #[test]
    fn features_that_never_change() {
        let rows: [(&[f64], f64); 2] =
            [(&[1.0, 7.0, 0.0, 0.0], 0.0), (&[2.0, 7.0, 0.0, 0.0], 1.0)];
        let mut features = numbers(&rows).features;
        let Features::Numbers(numbers) = &mut features else {
            panic!("numbers are numbers");
        };
        numbers.columns = vec![
            ("a".to_string(), None),
            ("b".to_string(), None),
            ("pixels".to_string(), Some(2)),
        ];
        let expected = "the feature b is the same in all rows";
        assert!(constant_features(&features).unwrap().starts_with(expected));
    }

    #[test]
    fn classes_that_only_validate() {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let labels = Labels::Classes {
            indices: vec![0, 1, 2, 0],
            names,
        };
        let split = |train: &[u32], validation: &[u32]| Split {
            train: train.to_vec(),
            validation: validation.to_vec(),
        };
        let of_split = |split: &Split| of_split(&labels, split, false).pop();
        assert_eq!(of_split(&split(&[0, 1, 2], &[3])), None);
        let one = of_split(&split(&[0, 1], &[2, 3])).unwrap();
        assert!(
            one.starts_with("the class c has rows for validation and none"),
            "{one}"
        );
        let two = of_split(&split(&[0], &[1, 2, 3])).unwrap();
        assert!(
            two.starts_with("the classes b, c have rows for validation"),
            "{two}"
        );
        let both = super::of_split(&labels, &split(&[0, 1], &[2, 3]), true);
        assert!(
            both[1].starts_with("the class b has no row to validate on"),
            "{both:?}"
        );
    }
}
