//! Rungs of a pruner, and who climbs from one to the next.

use std::collections::BTreeSet;

/// The budgets at which trials of up to `budget` are compared: `budget` divided by powers
/// of `eta`, down to `least`.
pub(crate) fn ladder(budget: u32, eta: u32, least: u32) -> Vec<u32> {
    let mut rungs = vec![budget];
    let mut power = 1.0;
    loop {
        power *= f64::from(eta);
        let rung = libm::round(f64::from(budget) / power) as u32;
        if rung < least.max(1) || rungs.last() == Some(&rung) {
            break;
        }
        rungs.push(rung);
    }
    rungs.reverse();
    rungs
}

/// Up to ten budgets at equal distances.
pub(crate) fn even_ladder(budget: u32, least: u32) -> Vec<u32> {
    let step = budget.div_ceil(10).max(1);
    let rungs = (1..=10).map(|n| n * step);
    let rungs = rungs.filter(|rung| *rung >= least && *rung < budget);
    rungs.chain([budget]).collect()
}

/// The trials of one successive halving, asynchronous as in ASHA (Li 2020): a trial climbs
/// as soon as it is among the best of those that reached its rung so far.
#[derive(Debug)]
pub(crate) struct Bracket {
    /// The rung at which its trials start.
    pub(crate) first: usize,
    eta: usize,
    /// Of each rung from `first` on the trials that reached it, best first.
    reached: Vec<Vec<(f64, u64)>>,
    /// Those that went on, by their rung.
    climbed: BTreeSet<(usize, u64)>,
}

impl Bracket {
    pub(crate) fn new(first: usize, rungs: usize, eta: u32) -> Self {
        Self {
            first,
            eta: eta as usize,
            reached: vec![vec![]; rungs],
            climbed: BTreeSet::new(),
        }
    }

    /// Notes the value of a trial at a rung.
    pub(crate) fn enter(&mut self, rung: usize, value: f64, trial: u64) {
        let reached = &mut self.reached[rung];
        let place = reached.partition_point(|(other, number)| {
            other.total_cmp(&value).then(number.cmp(&trial)).is_lt()
        });
        reached.insert(place, (value, trial));
    }

    /// The trial that climbs next from a rung. When no other trial is left to wait for
    /// (`is_last`), the best one of a rung climbs though there are few.
    pub(crate) fn climber(&mut self, rung: usize, is_last: bool) -> Option<u64> {
        let reached = self.reached.get(rung)?;
        let mut room = reached.len() / self.eta;
        if is_last && room == 0 {
            room = 1;
        }
        let trial = reached.iter().take(room).find_map(|(value, trial)| {
            let climbs = value.is_finite() && !self.climbed.contains(&(rung, *trial));
            climbs.then_some(*trial)
        })?;
        self.climbed.insert((rung, trial));
        Some(trial)
    }
}

/// The brackets of Hyperband (Li 2018) over a ladder, the one that starts lowest first,
/// and how many of its trials each one has for one of the others'.
pub(crate) fn hyperband(rungs: usize, eta: u32) -> Vec<(Bracket, f64)> {
    let bracket = |first: usize| {
        let halvings = i32::try_from(rungs - 1 - first).unwrap_or(i32::MAX);
        let share = rungs as f64 / (f64::from(halvings) + 1.0);
        let trials = libm::ceil(share * libm::pow(f64::from(eta), f64::from(halvings)));
        (Bracket::new(first, rungs, eta), trials)
    };
    (0..rungs).map(bracket).collect()
}

/// The bracket of a new trial: the one that lacks most of its share.
pub(crate) fn neediest(shares: &[f64], taken: &[u64]) -> usize {
    let total: f64 = shares.iter().sum();
    let all: u64 = taken.iter().sum();
    let lacks = |n: usize| shares[n] / total * (all as f64 + 1.0) - taken[n] as f64;
    let mut most = 0;
    for n in 1..shares.len() {
        if lacks(n) > lacks(most) {
            most = n;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_end_at_the_budget() {
        assert_eq!(ladder(27, 3, 1), [1, 3, 9, 27]);
        assert_eq!(ladder(27, 3, 2), [3, 9, 27]);
        assert_eq!(ladder(10, 3, 1), [1, 3, 10]);
        assert_eq!(ladder(1, 3, 1), [1]);
        assert_eq!(ladder(5, 2, 1), [1, 3, 5]);
        assert_eq!(even_ladder(20, 1), [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
        assert_eq!(even_ladder(3, 2), [2, 3]);
    }

    #[test]
    fn the_best_third_climbs_once() {
        let mut bracket = Bracket::new(0, 2, 3);
        for (trial, value) in [0.5, 0.1, 0.9].into_iter().enumerate() {
            assert_eq!(bracket.climber(0, false), None);
            bracket.enter(0, value, trial as u64);
        }
        assert_eq!(bracket.climber(0, false), Some(1));
        assert_eq!(bracket.climber(0, false), None);
        for trial in 3..6 {
            bracket.enter(0, 0.2, trial);
        }
        assert_eq!(bracket.climber(0, false), Some(3));
        assert_eq!(bracket.climber(0, true), None);
        bracket.enter(1, 0.3, 1);
        assert_eq!(bracket.climber(1, true), Some(1));
    }

    #[test]
    fn what_failed_never_climbs() {
        let mut bracket = Bracket::new(0, 2, 3);
        bracket.enter(0, f64::INFINITY, 0);
        assert_eq!(bracket.climber(0, true), None);
    }

    // Table 1 of Li 2018 has 81, 34, 15, 8 and 5 trials for R = 81 and eta = 3.
    #[test]
    fn brackets_have_the_shares_of_the_paper() {
        let shares: Vec<f64> = hyperband(5, 3).into_iter().map(|(_, n)| n).collect();
        assert_eq!(shares, [81.0, 34.0, 15.0, 8.0, 5.0]);
        let mut taken = vec![0; 5];
        for _ in 0..143 {
            let next = neediest(&shares, &taken);
            taken[next] += 1;
        }
        assert_eq!(taken, [81, 34, 15, 8, 5]);
    }
}
