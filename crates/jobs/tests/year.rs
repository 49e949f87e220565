//! Every interval of a year runs exactly once to success, whatever kills the schedule.

mod support;
#[path = "support/year.rs"]
mod year;

use crate::support::run_simulated;

#[test]
fn a_year_of_kills_loses_no_interval_and_repeats_none() {
    run_simulated(async {
        let year = year::simulate(1).await;
        for count in &year.counts {
            let job = &count.job;
            assert!(count.intervals >= 11, "{job}: {count:?}");
            assert_eq!(count.once, count.intervals, "{job}: {count:?}");
            let wrong = (count.lost, count.twice, count.strange);
            assert_eq!(wrong, (0, 0, 0), "{job}: {count:?}");
        }
        let kills = &year.kills;
        assert!(
            kills.len() == 4 && kills.values().all(|n| *n > 100),
            "{kills:?}"
        );
        assert!(year.most_at_once <= 3, "{}", year.most_at_once);
        // More were started than there are: kills did hit runs.
        let hit = |count: &year::Count| count.started > count.intervals;
        assert!(year.counts.iter().any(hit));
    });
}
