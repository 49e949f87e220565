//! Which rows of a snapshot train and which validate, where the data does not say.
//!
//! A split is drawn once, however many trials ask for it, and with it what is odd about it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use atoll_nn::{Draw, Error, Labels};
use datafusion::common::{Result, exec_err};

use super::near::near_identical;
use super::snapshot::{Snapshot, listed, of_split};
use super::{Split, Table};

/// What a statement says of how validation rows are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Drawing {
    /// Decides between splits that are as good as each other.
    pub(crate) seed: u64,
    /// Whether every part gets its share of each class; by default where there are classes.
    pub(crate) stratify: Option<bool>,
    /// In how many parts the rows are cut, each of which validates once.
    pub(crate) folds: Option<usize>,
}

/// The rows of a trial, or of each of its folds.
#[derive(Debug, Default)]
pub(crate) struct DrawnSplit {
    /// One split, or one for each fold.
    pub(crate) splits: Vec<atoll_nn::Split>,
    /// What is odd about them, if the snapshot does not say so already.
    pub(crate) warnings: Vec<String>,
}

/// The group of each row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// All groups in their order.
    names: Vec<String>,
    /// The group of each row as a place in `names`.
    of_row: Vec<u32>,
}

impl Groups {
    pub(super) fn new<'a>(of_row: impl Iterator<Item = &'a String> + Clone) -> Self {
        let names: BTreeSet<&String> = of_row.clone().collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let place = |name: &String| names.binary_search(name).unwrap_or_default() as u32;
        Self {
            of_row: of_row.map(place).collect(),
            names,
        }
    }

    /// The group of a row.
    pub(super) fn name(&self, row: usize) -> &str {
        &self.names[self.of_row[row] as usize]
    }
}

/// Checks that a split of the data keeps groups together.
pub(super) fn check_groups(dataset: &str, table: &Table) -> Result<()> {
    let mut sides: HashMap<&str, Split> = HashMap::new();
    for (group, split) in table.groups.iter().zip(&table.splits) {
        let first = *sides.entry(group).or_insert(*split);
        if first != *split {
            return exec_err!(
                "the group {group} of {dataset} has rows with split '{}' and rows with split \
                 '{}'; keep its rows together, or leave split_column or group out",
                first.name(),
                split.name()
            );
        }
    }
    Ok(())
}

/// What splits depend on: how they are drawn, and the share that validates.
type Key = (Drawing, u64);

type Outcome = Result<Arc<DrawnSplit>, String>;

/// Splits that were drawn, by what they depend on.
#[derive(Debug, Default)]
pub(super) struct DrawnSplits(Mutex<HashMap<Key, Arc<OnceLock<Outcome>>>>);

impl Snapshot {
    /// Whether splits are drawn so that each class gives its share.
    pub(crate) fn is_stratified(&self, drawing: &Drawing) -> bool {
        let has_classes = matches!(self.dataset.labels, Labels::Classes { .. });
        self.validation.is_none() && has_classes && drawing.stratify != Some(false)
    }

    /// Checks that folds can be made of the rows. `dataset` is what errors call them.
    pub(crate) fn check_folds(&self, dataset: &str, drawing: &Drawing) -> Result<()> {
        let Some(folds) = drawing.folds else {
            return Ok(());
        };
        if self.validation.is_some() {
            return exec_err!(
                "train: {dataset} has rows with split 'validation', and with folds every row \
                 validates once; leave folds out, or give those rows split 'train'"
            );
        }
        if let Labels::Classes { names, .. } = &self.dataset.labels {
            let rows = self.rows_of_classes();
            if let Some(class) = rows.iter().position(|rows| *rows == 1) {
                return exec_err!(
                    "train: the class {} of {dataset} has 1 row, and {folds} folds need at \
                     least 2, because a row that validates is not trained on; add rows, leave \
                     the class out, or leave folds out",
                    names[class]
                );
            }
        }
        match self.deal(drawing, 0.5) {
            Ok(_) => Ok(()),
            Err(error) => exec_err!("train: {dataset} cannot be cut into folds: {error}"),
        }
    }

    /// The rows that train and validate a trial: the data's own split, folds, or a share of
    /// the rows.
    pub(crate) fn split(
        &self,
        fraction: f64,
        drawing: &Drawing,
    ) -> Result<Arc<DrawnSplit>, Error> {
        // The share is no part of what folds depend on.
        let share = if drawing.folds.is_some() {
            0.5
        } else {
            fraction
        };
        let once = {
            let drawn = self.drawn.0.lock();
            let mut drawn = drawn.unwrap_or_else(PoisonError::into_inner);
            Arc::clone(drawn.entry((*drawing, share.to_bits())).or_default())
        };
        let mut failure = None;
        let outcome = once.get_or_init(|| {
            self.draw(drawing, share).map(Arc::new).map_err(|error| {
                let problem = error.to_string();
                failure = Some(error);
                problem
            })
        });
        match (outcome, failure) {
            (Ok(drawn), _) => Ok(Arc::clone(drawn)),
            (Err(_), Some(error)) => Err(error),
            // It failed for another trial; the same reason in the same words.
            (Err(_), None) => self.draw(drawing, share).map(Arc::new),
        }
    }

    /// The rows of each side, by themselves.
    fn deal(
        &self,
        drawing: &Drawing,
        fraction: f64,
    ) -> Result<Vec<atoll_nn::Split>, Error> {
        let classes = self.is_stratified(drawing);
        let draw = Draw {
            rows: self.dataset.len(),
            classes: classes.then(|| self.dataset.labels.indices()),
            groups: self.groups.as_ref().map(|groups| groups.of_row.as_slice()),
            seed: drawing.seed,
        };
        match drawing.folds {
            Some(folds) => draw.folds(folds),
            None => Ok(vec![draw.holdout(fraction)?]),
        }
    }

    fn draw(&self, drawing: &Drawing, fraction: f64) -> Result<DrawnSplit, Error> {
        if let Some(split) = self.own_split() {
            let splits = vec![split];
            let warnings = self.near_identical(&splits).into_iter().collect();
            return Ok(DrawnSplit { splits, warnings });
        }
        let splits = self.deal(drawing, fraction)?;
        let mut warnings: Vec<String> = Vec::new();
        warnings.extend(drawing.folds.and_then(|folds| self.small_classes(folds)));
        for split in &splits {
            for warning in of_split(&self.dataset.labels, split, drawing.folds.is_none())
            {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        warnings.extend(self.near_identical(&splits));
        Ok(DrawnSplit { splits, warnings })
    }

    fn near_identical(&self, splits: &[atoll_nn::Split]) -> Option<String> {
        near_identical(&self.dataset, splits, self.features.is_some())
    }

    fn rows_of_classes(&self) -> Vec<usize> {
        let mut rows = vec![0; self.dataset.classes()];
        for class in self.dataset.labels.indices() {
            rows[*class as usize] += 1;
        }
        rows
    }

    /// Classes with fewer rows than there are folds.
    fn small_classes(&self, folds: usize) -> Option<String> {
        let names = self.dataset.labels.class_names();
        let rows = self.rows_of_classes().into_iter().zip(names);
        let small: BTreeMap<&str, usize> = rows
            .filter(|(rows, _)| (1..folds).contains(rows))
            .map(|(rows, name)| (name.as_str(), rows))
            .collect();
        let names: Vec<&str> = small.into_keys().collect();
        let have = if names.len() == 1 { "has" } else { "have" };
        (!names.is_empty()).then(|| {
            format!(
                "{} {have} fewer rows than the {folds} folds, so that some folds have none \
                 to validate on",
                listed("the class", "the classes", &names)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::table::tests::images;

    /// Three classes of 12, 6 and `rare` rows, in groups of two.
    fn animals(rare: usize) -> Table {
        let rows: Vec<(Vec<u8>, u32)> = (0..18 + rare as u8)
            .map(|n| (vec![n, 7], u32::from(n >= 12) + u32::from(n >= 18)))
            .collect();
        let mut table = images(&rows, &[]);
        table.groups = (0..rows.len()).map(|n| format!("g{}", n / 2)).collect();
        table
    }

    fn folds(folds: usize) -> Drawing {
        Drawing {
            folds: Some(folds),
            ..Drawing::default()
        }
    }

    #[test]
    fn a_split_is_drawn_once() {
        let snapshot = Snapshot::from_table("animals", &animals(6)).unwrap();
        let drawing = Drawing::default();
        let first = snapshot.split(0.25, &drawing).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &snapshot.split(0.25, &drawing).unwrap()
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &snapshot.split(0.5, &drawing).unwrap()
        ));
        // Folds do not depend on the share.
        let first = snapshot.split(0.25, &folds(3)).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &snapshot.split(0.5, &folds(3)).unwrap()
        ));
        assert_eq!(first.splits.len(), 3);
    }

    #[test]
    fn groups_of_the_snapshot_stay_together() {
        let snapshot = Snapshot::from_table("animals", &animals(6)).unwrap();
        let groups = snapshot.groups.as_ref().unwrap();
        for split in &snapshot.split(0.2, &folds(4)).unwrap().splits {
            let of = |rows: &[u32]| -> BTreeSet<String> {
                rows.iter()
                    .map(|row| groups.name(*row as usize).to_string())
                    .collect()
            };
            assert!(of(&split.train).is_disjoint(&of(&split.validation)));
        }
    }

    #[test]
    fn a_class_without_a_row_to_validate_on_warns() {
        let mut table = animals(2);
        table.groups.clear();
        let snapshot = Snapshot::from_table("animals", &table).unwrap();
        let drawn = snapshot.split(0.1, &Drawing::default()).unwrap();
        let expected = "the class 2 has no row to validate on";
        assert!(
            drawn.warnings[0].starts_with(expected),
            "{:?}",
            drawn.warnings
        );
        let drawn = snapshot.split(0.1, &folds(5)).unwrap();
        let expected = "the class 2 has fewer rows than the 5 folds";
        assert!(
            drawn.warnings[0].starts_with(expected),
            "{:?}",
            drawn.warnings
        );
    }

    #[test]
    fn folds_that_cannot_be_made_say_why() {
        let refused = |table: &Table, drawing| {
            let snapshot = Snapshot::from_table("animals", table).unwrap();
            snapshot
                .check_folds("animals", &drawing)
                .unwrap_err()
                .strip_backtrace()
        };
        let error = refused(&animals(1), folds(5));
        assert!(
            error.contains("the class 2 of animals has 1 row, and 5 folds"),
            "{error}"
        );
        let error = refused(&animals(2), folds(15));
        assert!(error.contains("there are 10 groups"), "{error}");
        let mut split = animals(2);
        split.groups.clear();
        split.splits = vec![Split::Train; 20];
        split.splits[3] = Split::Validation;
        let error = refused(&split, folds(2));
        assert!(
            error.contains("has rows with split 'validation'"),
            "{error}"
        );
        split.groups = (0..20).map(|n| format!("g{}", n / 2)).collect();
        let error = Snapshot::from_table("animals", &split)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the group g1 of animals has rows with split"),
            "{error}"
        );
    }

    #[test]
    fn without_strata_the_split_is_the_one_of_before() {
        let mut table = animals(6);
        table.groups.clear();
        let snapshot = Snapshot::from_table("animals", &table).unwrap();
        let plain = Drawing {
            seed: 3,
            stratify: Some(false),
            folds: None,
        };
        let drawn = snapshot.split(0.25, &plain).unwrap();
        let before = atoll_nn::Split::by_fraction(24, 0.25, 3).unwrap();
        assert_eq!(drawn.splits, [before]);
        assert!(snapshot.is_stratified(&Drawing::default()));
        assert!(!snapshot.is_stratified(&plain));
    }
}
