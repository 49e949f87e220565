//! Every combination of values.

use super::Sampler;
use crate::observation::Observation;
use crate::{Error, Point, Space, Value};

/// More points than this are no grid that anyone trains.
pub const MAX_GRID: u128 = 1_000_000;

/// The points of a grid one after the other, the first dimension slowest.
pub(super) struct Grid {
    points: u64,
}

impl Grid {
    pub(super) fn new(space: &Space) -> Result<Self, Error> {
        let uncountable = space.dimensions().iter().find(|d| d.count().is_none());
        if let Some(dimension) = uncountable {
            return Err(Error::Sampler {
                sampler: "grid",
                reason: format!(
                    "needs values that can be counted, and {} has none between its bounds; \
                     give it a step, or a list such as hp_choice([0.01, 0.1])",
                    dimension.path
                ),
            });
        }
        let points = count(space, &vec![None; space.dimensions().len()], 0);
        if points > MAX_GRID {
            return Err(Error::Sampler {
                sampler: "grid",
                reason: format!(
                    "would have {points} points, and {MAX_GRID} are the most; give longer \
                     steps or shorter lists"
                ),
            });
        }
        let points = points as u64;
        Ok(Self { points })
    }
}

impl Sampler for Grid {
    fn suggest(&mut self, space: &Space, _: &[Observation], trial: u64) -> Option<Point> {
        if trial >= self.points {
            return None;
        }
        let mut point: Point = vec![None; space.dimensions().len()];
        let mut left = u128::from(trial);
        for (index, dimension) in space.dimensions().iter().enumerate() {
            if !space.is_active(index, &point) {
                continue;
            }
            // Each value of this dimension stands for as many points as are below it.
            for nth in 0..dimension.count().unwrap_or(0) {
                point[index] = Some(dimension.nth(nth));
                let below = count(space, &point, index + 1);
                if left < below {
                    break;
                }
                left -= below;
            }
        }
        Some(point)
    }
}

/// How many points agree with `point` in the dimensions before `from`.
fn count(space: &Space, point: &[Option<Value>], from: usize) -> u128 {
    // Dimensions below a choice multiply the points of that choice only, so they are
    // counted from the last to the first, each into its parent.
    let dimensions = space.dimensions();
    let mut own: Vec<Vec<u128>> = dimensions
        .iter()
        .map(|d| vec![1; d.choices().unwrap_or(0)])
        .collect();
    let mut all = 1u128;
    for index in (0..dimensions.len()).rev() {
        let dimension = &dimensions[index];
        let points = match (index < from, point[index], dimension.choices()) {
            (true, None, _) => continue,
            (true, Some(Value::Choice(choice)), Some(_)) => own[index][choice],
            (true, Some(_), _) => 1,
            (false, _, Some(_)) => own[index]
                .iter()
                .fold(0u128, |sum, n| sum.saturating_add(*n)),
            (false, _, None) => dimension.count().unwrap_or(1),
        };
        match dimension.parent {
            Some((above, choice)) => {
                own[above][choice] = own[above][choice].saturating_mul(points);
            }
            None => all = all.saturating_mul(points),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::tests::{choice, float, int, numbers};

    fn all(space: &Space) -> Vec<Point> {
        let mut grid = Grid::new(space).unwrap();
        let points = (0..).map_while(|trial| grid.suggest(space, &[], trial));
        points.collect()
    }

    #[test]
    fn a_grid_has_each_combination_once_and_the_last_value_fastest() {
        let space = Space::new(&[
            int("a", 1, 2, false, 1),
            numbers("b", 0.0, 0.3, false, Some(0.1)),
        ]);
        let points = all(&space.unwrap());
        assert_eq!(points.len(), 8);
        assert_eq!(points[0], [Some(Value::Int(1)), Some(Value::Float(0.0))]);
        assert_eq!(points[1], [Some(Value::Int(1)), Some(Value::Float(0.1))]);
        assert_eq!(points[4][0], Some(Value::Int(2)));
    }

    #[test]
    fn what_depends_on_a_choice_multiplies_that_choice_only() {
        let space = Space::new(&[
            choice(
                "optimizer",
                vec![vec![int("momentum", 1, 3, false, 1)], vec![]],
            ),
            int("b", 1, 2, false, 1),
        ])
        .unwrap();
        let points = all(&space);
        assert_eq!(points.len(), (3 + 1) * 2);
        for (n, point) in points.iter().enumerate() {
            assert!(!points[..n].contains(point), "{point:?} twice");
            let sgd = point[0] == Some(Value::Choice(0));
            assert_eq!(point[1].is_some(), sgd);
        }
    }

    #[test]
    fn a_grid_over_all_numbers_is_refused() {
        let space = Space::new(&[float("rate", 0.0, 1.0)]).unwrap();
        let error = Grid::new(&space).err().unwrap().to_string();
        assert!(error.contains("rate has none between its bounds; give it a step"));
        let space =
            Space::new(&[int("a", 0, 4_000, false, 1), int("b", 0, 4_000, false, 1)]);
        let error = Grid::new(&space.unwrap()).err().unwrap().to_string();
        assert!(error.contains("would have 16008001 points"), "{error}");
    }
}
