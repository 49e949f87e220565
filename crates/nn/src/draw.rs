//! Which rows validate, where the data does not say: a share of them, or one fold after
//! the other.

use std::cmp::Reverse;

use crate::random::Stream;
use crate::{Error, Split};

/// How rows are dealt to training and validation.
///
/// The same rows, classes, groups and seed give the same split anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// How many rows there are.
    pub rows: usize,
    /// The class of each row, if every part is to have its share of each class.
    pub classes: Option<&'a [u32]>,
    /// The group of each row, if the rows of a group are to stay together.
    pub groups: Option<&'a [u32]>,
    /// What decides between splits that are as good as each other.
    pub seed: u64,
}

impl Draw<'_> {
    /// Takes a `fraction` of the rows for validation, at least one, and leaves at least
    /// one to train on.
    ///
    /// With classes each gives its share, by the largest remainder; the last row of a class
    /// stays to be trained on. With groups the share is met as well as whole groups can.
    pub fn holdout(&self, fraction: f64) -> Result<Split, Error> {
        // It also refuses what is no fraction, and too few rows.
        let plain = Split::by_fraction(self.rows, fraction, self.seed)?;
        let Some(groups) = self.groups else {
            let Some(classes) = self.classes else {
                return Ok(plain);
            };
            let split = self.stratified(classes, plain.validation.len());
            return Ok(split.unwrap_or(plain));
        };
        let mut parts = self.deal_groups(groups, &[1.0 - fraction, fraction], 2)?;
        let validation = parts.pop().unwrap_or_default();
        let train = parts.pop().unwrap_or_default();
        Ok(Split { train, validation })
    }

    /// Cuts the rows into `folds` parts of about the same size, each of which validates
    /// once.
    ///
    /// With classes, the rows of a class in two folds differ by at most one; with groups,
    /// as little as whole groups allow.
    pub fn folds(&self, folds: usize) -> Result<Vec<Split>, Error> {
        if folds < 2 || folds > self.rows {
            return problem(format!(
                "{folds} folds need at least 2 folds and as many rows, and there are {} rows",
                self.rows
            ));
        }
        let parts = match self.groups {
            Some(groups) => {
                self.deal_groups(groups, &vec![1.0 / folds as f64; folds], folds)?
            }
            None => self.deal_rows(folds),
        };
        let of_row = inverse(&parts, self.rows);
        let split = |(fold, validation): (usize, &Vec<u32>)| Split {
            train: (0..self.rows as u32)
                .filter(|row| of_row[*row as usize] != fold)
                .collect(),
            validation: validation.clone(),
        };
        Ok(parts.iter().enumerate().map(split).collect())
    }

    /// The rows of each class in random order.
    fn shuffled_classes(&self, classes: &[u32], stream: &mut Stream) -> Vec<Vec<u32>> {
        let count = classes.iter().max().map_or(0, |class| *class as usize + 1);
        let mut rows = vec![Vec::new(); count];
        for (row, class) in (0_u32..).zip(classes) {
            rows[*class as usize].push(row);
        }
        rows.iter_mut().for_each(|rows| stream.shuffle(rows));
        rows
    }

    /// A split with `held_out` rows, or as many as leave a row of each class to train on;
    /// none if that is none.
    fn stratified(&self, classes: &[u32], held_out: usize) -> Option<Split> {
        let mut stream = Stream::new(self.seed, "split");
        let rows = self.shuffled_classes(classes, &mut stream);
        let exact =
            |rows: &Vec<u32>| held_out as f64 * rows.len() as f64 / classes.len() as f64;
        let room = |rows: &Vec<u32>| rows.len().saturating_sub(1);
        let mut taken: Vec<usize> = rows
            .iter()
            .map(|rows| (exact(rows) as usize).min(room(rows)))
            .collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // The largest remainder first; equal ones in the order of the classes.
        order.sort_by(|a, b| {
            let rest = |class: usize| exact(&rows[class]) - taken[class] as f64;
            rest(*b).total_cmp(&rest(*a))
        });
        while taken.iter().sum::<usize>() < held_out {
            let before = taken.iter().sum::<usize>();
            for class in &order {
                let is_full = taken.iter().sum::<usize>() == held_out;
                if !is_full && taken[*class] < room(&rows[*class]) {
                    taken[*class] += 1;
                }
            }
            if taken.iter().sum::<usize>() == before {
                break;
            }
        }
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (rows, taken) in rows.iter().zip(taken) {
            validation.extend_from_slice(&rows[..taken]);
            train.extend_from_slice(&rows[taken..]);
        }
        train.sort_unstable();
        validation.sort_unstable();
        (!validation.is_empty()).then_some(Split { train, validation })
    }

    /// Deals rows out one after the other, class by class.
    fn deal_rows(&self, folds: usize) -> Vec<Vec<u32>> {
        let mut stream = Stream::new(self.seed, "folds");
        let order = match self.classes {
            Some(classes) => self.shuffled_classes(classes, &mut stream).concat(),
            None => {
                let mut order: Vec<u32> = (0..self.rows as u32).collect();
                stream.shuffle(&mut order);
                order
            }
        };
        let mut parts = vec![Vec::new(); folds];
        for (place, row) in order.into_iter().enumerate() {
            parts[place % folds].push(row);
        }
        parts.iter_mut().for_each(|part| part.sort_unstable());
        parts
    }

    /// Deals whole groups to parts with these shares, so that the rows of each class come
    /// as near to the shares as a greedy choice gets, the largest groups first.
    ///
    /// A part takes a group at the price by which the sum of squares of its class shares
    /// grows, over the share that it should have. Without classes all rows are of one.
    fn deal_groups(
        &self,
        groups: &[u32],
        shares: &[f64],
        least: usize,
    ) -> Result<Vec<Vec<u32>>, Error> {
        let count = groups.iter().max().map_or(0, |group| *group as usize + 1);
        let mut members = vec![Vec::new(); count];
        for (row, group) in (0_u32..).zip(groups) {
            members[*group as usize].push(row);
        }
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.retain(|group| !members[*group as usize].is_empty());
        if order.len() < least {
            let groups = match order.len() {
                1 => "all rows have the same group".to_owned(),
                n => format!("there are {n} groups"),
            };
            return problem(format!(
                "{groups}, and rows of a group stay together, so that {least} groups are \
                 needed; take fewer folds or another group"
            ));
        }
        Stream::new(self.seed, "groups").shuffle(&mut order);
        order.sort_by_key(|group| Reverse(members[*group as usize].len()));
        let class = |row: u32| self.classes.map_or(0, |all| all[row as usize] as usize);
        let mut dealt = Dealt::new((0..self.rows as u32).map(class), shares);
        for group in order {
            let rows = &members[group as usize];
            dealt.take(group, rows, rows.iter().map(|row| class(*row)).collect());
        }
        Ok(dealt.into_parts(&members))
    }
}

/// Groups that are being dealt to parts.
struct Dealt<'a> {
    shares: &'a [f64],
    /// The rows of each class.
    totals: Vec<f64>,
    /// The rows of each class that each part has.
    filled: Vec<Vec<f64>>,
    parts: Vec<Vec<u32>>,
    /// The groups that each part took.
    taken: Vec<Vec<u32>>,
}

impl<'a> Dealt<'a> {
    fn new(classes: impl Iterator<Item = usize> + Clone, shares: &'a [f64]) -> Self {
        let count = classes.clone().max().unwrap_or(0) + 1;
        let mut totals = vec![0.0; count];
        classes.for_each(|class| totals[class] += 1.0);
        Self {
            shares,
            totals,
            filled: vec![vec![0.0; count]; shares.len()],
            parts: vec![Vec::new(); shares.len()],
            taken: vec![Vec::new(); shares.len()],
        }
    }

    /// Gives a group to the part with the lowest price, among equals the emptiest.
    fn take(&mut self, group: u32, rows: &[u32], mut classes: Vec<usize>) {
        classes.sort_unstable();
        let counts: Vec<(usize, f64)> = classes
            .chunk_by(|a, b| a == b)
            .map(|same| (same[0], same.len() as f64))
            .collect();
        let price = |part: usize| -> f64 {
            let grown = counts.iter().map(|(class, count)| {
                let filled = self.filled[part][*class];
                count * (2.0 * filled + count) / self.totals[*class].powi(2)
            });
            grown.sum::<f64>() / self.shares[part]
        };
        let fullness = |part: usize| self.parts[part].len() as f64 / self.shares[part];
        let best = (0..self.shares.len()).min_by(|a, b| {
            let prices = price(*a).total_cmp(&price(*b));
            prices.then(fullness(*a).total_cmp(&fullness(*b)))
        });
        let best = best.unwrap_or_default();
        for (class, count) in counts {
            self.filled[best][class] += count;
        }
        self.parts[best].extend_from_slice(rows);
        self.taken[best].push(group);
    }

    /// The rows of each part, none of which is empty. A small share may have got nothing,
    /// and gets the group that was dealt last, which is the smallest.
    fn into_parts(mut self, members: &[Vec<u32>]) -> Vec<Vec<u32>> {
        if let Some(empty) = self.parts.iter().position(Vec::is_empty) {
            let full = (0..self.parts.len()).max_by_key(|part| self.taken[*part].len());
            let full = full.unwrap_or_default();
            if let Some(group) = self.taken[full].pop() {
                let moved = &members[group as usize];
                self.parts[full].retain(|row| moved.binary_search(row).is_err());
                self.parts[empty].clone_from(moved);
            }
        }
        self.parts.iter_mut().for_each(|part| part.sort_unstable());
        self.parts
    }
}

/// The part of each row.
fn inverse(parts: &[Vec<u32>], rows: usize) -> Vec<usize> {
    let mut of_row = vec![0; rows];
    for (part, rows) in parts.iter().enumerate() {
        for row in rows {
            of_row[*row as usize] = part;
        }
    }
    of_row
}

fn problem<T>(problem: String) -> Result<T, Error> {
    Err(Error::Dataset { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with skewed classes and groups of all sizes, from a seed.
    fn rows(seed: u64, rows: usize, groups: u32) -> (Vec<u32>, Vec<u32>) {
        let mut stream = Stream::new(seed, "test");
        let mut draw = |most: u32| (stream.unit() * most as f32) as u32;
        let classes = (0..rows).map(|_| draw(4).min(draw(4))).collect();
        let groups = (0..rows).map(|_| draw(groups).min(draw(groups))).collect();
        (classes, groups)
    }

    fn count(rows: &[u32], classes: &[u32], class: u32) -> usize {
        let of_class = |row: &&u32| classes[**row as usize] == class;
        rows.iter().filter(of_class).count()
    }

    #[track_caller]
    fn check_whole(split: &Split, rows: usize) {
        let mut all = [split.train.clone(), split.validation.clone()].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..rows as u32));
        assert!(!split.train.is_empty() && !split.validation.is_empty());
        assert!(split.train.is_sorted() && split.validation.is_sorted());
    }

    #[test]
    fn groups_are_never_on_both_sides() {
        for seed in 0..200 {
            let count = 4 + seed as usize * 3;
            let (classes, groups) = rows(seed, count, 2 + seed as u32 % 40);
            if groups.iter().all(|group| *group == groups[0]) {
                continue;
            }
            let mut distinct = groups.clone();
            distinct.sort_unstable();
            distinct.dedup();
            for classes in [None, Some(classes.as_slice())] {
                let draw = Draw {
                    rows: count,
                    classes,
                    groups: Some(&groups),
                    seed,
                };
                let mut splits: Vec<Split> = [0.01, 0.1, 0.5, 0.9]
                    .iter()
                    .map(|fraction| draw.holdout(*fraction).unwrap())
                    .collect();
                for folds in 2..=distinct.len().min(6) {
                    let of_folds = draw.folds(folds).unwrap();
                    let validated: usize =
                        of_folds.iter().map(|split| split.validation.len()).sum();
                    assert_eq!(validated, count);
                    splits.extend(of_folds);
                }
                for split in splits {
                    check_whole(&split, count);
                    let side = |rows: &[u32]| -> std::collections::BTreeSet<u32> {
                        rows.iter().map(|row| groups[*row as usize]).collect()
                    };
                    let (train, validation) =
                        (side(&split.train), side(&split.validation));
                    assert!(train.is_disjoint(&validation), "seed {seed}: {split:?}");
                }
            }
        }
    }

    #[test]
    fn each_class_gives_its_share() {
        for seed in 0..50 {
            let (classes, _) = rows(seed, 300, 1);
            let draw = Draw {
                rows: 300,
                classes: Some(&classes),
                groups: None,
                seed,
            };
            let split = draw.holdout(0.2).unwrap();
            check_whole(&split, 300);
            assert_eq!(split.validation.len(), 60);
            for class in 0..4 {
                let all = classes.iter().filter(|other| **other == class).count();
                let held_out = count(&split.validation, &classes, class);
                let exact = all as f64 * 0.2;
                assert!((held_out as f64 - exact).abs() < 1.0, "{held_out} {exact}");
            }
            // As scikit-learn's StratifiedKFold deals them: at most one apart.
            for folds in [2, 5, 7] {
                let splits = draw.folds(folds).unwrap();
                for split in &splits {
                    check_whole(split, 300);
                }
                for class in 0..4 {
                    let counts = splits.iter();
                    let counts =
                        counts.map(|split| count(&split.validation, &classes, class));
                    let (least, most) = (counts.clone().min(), counts.max());
                    assert!(most.unwrap() - least.unwrap() <= 1);
                }
            }
        }
    }

    #[test]
    fn whole_groups_come_near_to_the_shares() {
        let (classes, groups) = rows(3, 2_000, 200);
        let draw = Draw {
            rows: 2_000,
            classes: Some(&classes),
            groups: Some(&groups),
            seed: 3,
        };
        let split = draw.holdout(0.2).unwrap();
        for class in 0..4 {
            let all = classes.iter().filter(|other| **other == class).count() as f64;
            let share = count(&split.validation, &classes, class) as f64 / all;
            assert!((share - 0.2).abs() < 0.03, "{share}");
        }
    }

    #[test]
    fn the_last_row_of_a_class_is_trained_on() {
        let classes = [0, 1, 2, 2, 2, 2];
        let draw = Draw {
            rows: 6,
            classes: Some(&classes),
            groups: None,
            seed: 0,
        };
        let split = draw.holdout(0.9).unwrap();
        assert_eq!(split.validation.len(), 3);
        assert!(split.train.starts_with(&[0, 1]));
        // Where no class can give a row, one is taken all the same.
        let draw = Draw {
            rows: 3,
            classes: Some(&[0, 1, 2]),
            ..draw
        };
        assert_eq!(draw.holdout(0.1).unwrap().validation.len(), 1);
    }

    #[test]
    fn the_seed_decides() {
        let (classes, groups) = rows(1, 100, 30);
        for (classes, groups) in [
            (Some(classes.as_slice()), None),
            (None, Some(groups.as_slice())),
            (None, None),
        ] {
            let draw = |seed| Draw {
                rows: 100,
                classes,
                groups,
                seed,
            };
            let splits = |seed| draw(seed).folds(4).unwrap();
            assert_eq!(splits(1), splits(1));
            assert_ne!(splits(1), splits(2));
            assert_eq!(draw(1).holdout(0.2).unwrap(), draw(1).holdout(0.2).unwrap());
        }
    }

    #[test]
    fn what_cannot_be_dealt_is_refused() {
        let draw = Draw {
            rows: 4,
            classes: None,
            groups: Some(&[3, 3, 3, 3]),
            seed: 0,
        };
        let error = draw.holdout(0.5).unwrap_err().to_string();
        assert!(error.contains("all rows have the same group"), "{error}");
        let draw = Draw {
            groups: Some(&[0, 0, 1, 1]),
            ..draw
        };
        let error = draw.folds(3).unwrap_err().to_string();
        assert!(error.contains("there are 2 groups"), "{error}");
        assert!(draw.folds(1).is_err() && draw.folds(5).is_err());
    }
}
