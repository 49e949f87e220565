//! Several objectives: ranks, volumes, and which points stand for a front.

/// Whether `a` is at least as good as `b` in all objectives and better in one.
pub(crate) fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// The rank of each point: 0 for those that nothing dominates, 1 for those that only they
/// dominate, and so on (Deb 2002).
pub fn ranks(points: &[Vec<f64>]) -> Vec<usize> {
    let mut ranks = vec![usize::MAX; points.len()];
    let mut left: Vec<usize> = (0..points.len()).collect();
    let mut rank = 0;
    while !left.is_empty() {
        let is_dominated =
            |n: &usize| left.iter().any(|m| dominates(&points[*m], &points[*n]));
        let (behind, front): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|n| is_dominated(n));
        for n in front {
            ranks[n] = rank;
        }
        left = behind;
        rank += 1;
    }
    ranks
}

/// The volume between points and a reference that is worse than all of them.
///
/// By slices along the last objective, which is exact; for the tens of points of a front.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = points
        .iter()
        .filter(|point| point.iter().zip(reference).all(|(x, r)| x < r));
    let points: Vec<&[f64]> = inside.map(Vec::as_slice).collect();
    slices(points, reference)
}

fn slices(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    let Some((end, lower)) = reference.split_last() else {
        return 0.0;
    };
    let last = lower.len();
    if lower.is_empty() {
        let best = points.iter().map(|point| point[0]).fold(*end, f64::min);
        return end - best;
    }
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    let mut volume = 0.0;
    for n in 0..points.len() {
        let next = points.get(n + 1).map_or(*end, |next| next[last]);
        let depth = next - points[n][last];
        if depth > 0.0 {
            let below = points[..=n].iter().map(|point| &point[..last]).collect();
            volume += depth * slices(below, lower);
        }
    }
    volume
}

/// A point that is worse than all of these, a tenth beyond the worst in each objective.
pub(crate) fn reference(points: &[Vec<f64>]) -> Vec<f64> {
    let objectives = points.first().map_or(0, Vec::len);
    let worst = (0..objectives).map(|k| {
        let worst = points.iter().map(|point| point[k]);
        let worst = worst.fold(f64::NEG_INFINITY, f64::max);
        let beyond = (1.1 * worst).max(0.9 * worst);
        if beyond == 0.0 { 1e-12 } else { beyond }
    });
    worst.collect()
}

/// Chooses `count` of the points one by one, each of them the one that adds most volume to
/// those before (greedily, at least 63 % of the best choice: Guerreiro 2016).
pub(crate) fn spread(points: &[Vec<f64>], count: usize) -> Vec<usize> {
    let reference = reference(points);
    let mut chosen: Vec<usize> = vec![];
    while chosen.len() < count.min(points.len()) {
        let volume_with = |n: usize| {
            let with = chosen.iter().chain([&n]).map(|m| points[*m].clone());
            hypervolume(&with.collect::<Vec<_>>(), &reference)
        };
        let mut best: Option<(usize, f64)> = None;
        for n in (0..points.len()).filter(|n| !chosen.contains(n)) {
            let volume = volume_with(n);
            if best.is_none_or(|(_, most)| volume > most) {
                best = Some((n, volume));
            }
        }
        let Some((n, _)) = best else { break };
        chosen.push(n);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_peel_fronts_off() {
        let points = [
            vec![1.0, 4.0],
            vec![4.0, 1.0],
            vec![2.0, 5.0],
            vec![5.0, 5.0],
            vec![1.0, 4.0],
        ];
        assert_eq!(ranks(&points), [0, 0, 1, 2, 0]);
    }

    // optuna._hypervolume.compute_hypervolume of the same points and reference, 5.0.0.
    #[test]
    fn volumes_are_those_of_boxes() {
        let points = [vec![1.0, 3.0], vec![2.0, 2.0], vec![3.0, 1.0]];
        assert_eq!(hypervolume(&points, &[4.0, 4.0]), 6.0);
        let points = [
            vec![1.0, 2.0, 3.0],
            vec![3.0, 1.0, 1.0],
            vec![2.0, 2.0, 2.0],
        ];
        assert_eq!(hypervolume(&points, &[4.0, 4.0, 4.0]), 15.0);
        assert_eq!(hypervolume(&[vec![5.0, 0.0]], &[4.0, 4.0]), 0.0);
    }

    #[test]
    fn the_points_that_stand_for_a_front_are_its_ends_and_middle() {
        let front: Vec<_> = (0..=10)
            .map(|n| vec![f64::from(n), f64::from((10 - n) * (10 - n)) / 10.0])
            .collect();
        let chosen = spread(&front, 3);
        assert_eq!(chosen.len(), 3);
        assert!(chosen.iter().any(|n| (2..8).contains(n)), "{chosen:?}");
    }
}
