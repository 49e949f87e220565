//! Follows a year of a schedule on a simulated clock, with random kills, once a seed, and
//! prints a table: `cargo run -p atoll-jobs --example year -- 1 2 3`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example prints, and fails by panicking"
)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/support/year.rs"]
mod year;

fn main() {
    let seeds: Vec<u64> = std::env::args()
        .skip(1)
        .map(|seed| seed.parse().unwrap())
        .collect();
    println!(
        "seed  job                 intervals  runs started  once  twice  lost  other"
    );
    for seed in seeds {
        let year = support::run_simulated(year::simulate(seed));
        for count in &year.counts {
            println!(
                "{seed:<4}  {:<18}  {:>9}  {:>12}  {:>5}  {:>5}  {:>4}  {:>5}",
                count.job,
                count.intervals,
                count.started,
                count.once,
                count.twice,
                count.lost,
                count.strange
            );
        }
        let mut kills: Vec<_> = year.kills.iter().collect();
        kills.sort();
        let kills: Vec<String> = kills
            .iter()
            .map(|(place, count)| format!("{count} {place}"))
            .collect();
        println!(
            "{seed:<4}  kills: {}; at most {} runs at once",
            kills.join(", "),
            year.most_at_once
        );
    }
}
