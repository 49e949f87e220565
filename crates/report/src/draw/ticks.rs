//! Where an axis has numbers.

use crate::chart::{Axis, Ticks};
use crate::format::number;

/// Places with their texts, about `most` of them where they are not given.
pub(super) fn ticks(axis: &Axis, most: usize) -> Vec<(f64, String)> {
    let (most, whole, percent) = match &axis.ticks {
        Ticks::Named(names) => return names.clone(),
        Ticks::Numbers => (most, false, false),
        Ticks::Percent => (most, false, true),
        Ticks::Whole => (most, true, false),
    };
    let most = most.max(2);
    if axis.log {
        let places = logarithmic(axis.low, axis.high, most);
        if places.len() >= 2 {
            let text = |place: f64| match percent {
                true => crate::format::percent(place),
                false => number(place),
            };
            return places
                .into_iter()
                .map(|place| (place, text(place)))
                .collect();
        }
    }
    let step = step(axis.high - axis.low, most, whole);
    let (first, last) = ((axis.low / step).ceil(), (axis.high / step).floor());
    // More than asked for means ends that are not numbers.
    let count = ((last - first) as usize).min(4 * most);
    (0..=count)
        .map(|n| (first + n as f64) * step)
        .map(|place| (place, linear_text(place, step, percent)))
        .collect()
}

/// The smallest of 1, 2 and 5 times a power of ten that gives few enough places.
fn step(span: f64, most: usize, whole: bool) -> f64 {
    let rough = span / most as f64;
    if rough <= 0.0 || !rough.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    // A hair less, since the powers are not exact.
    let fits = |step: &f64| *step >= rough * 0.999_999;
    let step = factors.into_iter().find(fits).unwrap_or(10.0 * power);
    if whole { step.max(1.0).round() } else { step }
}

fn linear_text(place: f64, step: f64, percent: bool) -> String {
    let (place, step) = match percent {
        true => (place * 100.0, step * 100.0),
        false => (place, step),
    };
    let sign = if percent { " %" } else { "" };
    if !(1e-4..1e7).contains(&step) {
        return format!("{}{sign}", number(place));
    }
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let text = format!("{place:.decimals$}");
    // Zero may come out of rounding with a sign.
    let text = text
        .strip_prefix('-')
        .filter(|rest| !rest.contains(|c| ('1'..='9').contains(&c)))
        .unwrap_or(&text);
    format!("{text}{sign}")
}

/// As many round digits of each power of ten as there is room for; all digits only where
/// there would be hardly any.
fn logarithmic(low: f64, high: f64, most: usize) -> Vec<f64> {
    const ALL: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    const ROUND: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
    const FEW: usize = 3;
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let inside = |place: &f64| *place >= low * 0.999_999 && *place <= high * 1.000_001;
    let places = |digits: &[f64], every: usize| -> Vec<f64> {
        let powers = (first..=last).filter(|power| power.rem_euclid(every as i32) == 0);
        powers
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .filter(inside)
            .collect()
    };
    let dense = ROUND.iter().map(|digits| places(digits, 1));
    let sparse = (2..400).map(|every| places(&[1.0], every));
    let found = dense.chain(sparse).find(|places| places.len() <= most);
    match found {
        Some(found) if found.len() >= FEW => found,
        found => {
            let all = places(ALL, 1);
            match all.len() <= most {
                true => all,
                false => found.unwrap_or_default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(axis: (f64, f64, bool, Ticks), most: usize, expected: &[&str]) {
        let (low, high, log, ticks_of) = axis;
        let axis = Axis {
            title: String::new(),
            low,
            high,
            log,
            ticks: ticks_of,
        };
        let texts: Vec<String> =
            ticks(&axis, most).into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn linear_ticks_are_round() {
        check(
            (0.0, 1.0, false, Ticks::Numbers),
            5,
            &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"],
        );
        check(
            (-0.1, 0.1, false, Ticks::Numbers),
            4,
            &["-0.10", "-0.05", "0.00", "0.05", "0.10"],
        );
        check(
            (0.0, 0.05, false, Ticks::Percent),
            5,
            &["0 %", "1 %", "2 %", "3 %", "4 %", "5 %"],
        );
        check((0.6, 3.4, false, Ticks::Whole), 10, &["1", "2", "3"]);
        check(
            (0.0, 21_000.0, false, Ticks::Whole),
            4,
            &["0", "10000", "20000"],
        );
    }

    #[test]
    fn logarithmic_ticks_fit_the_room() {
        check(
            (0.009, 0.11, true, Ticks::Numbers),
            5,
            &["0.01", "0.02", "0.05", "0.1"],
        );
        check(
            (1e-6, 1.0, true, Ticks::Numbers),
            4,
            &["1e-6", "0.0001", "0.01", "1"],
        );
        check(
            (0.02, 0.3, true, Ticks::Percent),
            6,
            &["2 %", "5 %", "10 %", "20 %"],
        );
    }

    #[test]
    fn a_short_logarithm_has_linear_ticks() {
        check(
            (0.91, 0.99, true, Ticks::Numbers),
            4,
            &["0.92", "0.94", "0.96", "0.98"],
        );
    }
}
