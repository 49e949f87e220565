//! Numbers and times as people read them.

use chrono::DateTime;

/// Digits that a reader takes in.
const DIGITS: i32 = 4;

/// A number with at most four significant digits; whole numbers in full.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e9 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e9).contains(&size) {
        let text = format!("{value:.*e}", DIGITS as usize - 1);
        let Some((mantissa, exponent)) = text.split_once('e') else {
            return text;
        };
        return format!("{}e{exponent}", without_zeros(mantissa));
    }
    let before = size.log10().floor() as i32 + 1;
    let decimals = (DIGITS - before).max(0) as usize;
    without_zeros(&format!("{value:.decimals$}")).to_string()
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    let percentage = share * 100.0;
    let decimals = match percentage.abs() {
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{} %", without_zeros(&format!("{percentage:.decimals$}")))
}

/// How long something took.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => "an unknown time".to_string(),
        s if s < 0.1 => format!("{:.0} ms", s * 1_000.0),
        s if s < 100.0 => format!("{} s", number((s * 10.0).round() / 10.0)),
        s if s < 6_000.0 => format!(
            "{:.0} min {:02.0} s",
            (s / 60.0).floor(),
            (s % 60.0).floor()
        ),
        s => format!(
            "{:.0} h {:02.0} min",
            (s / 3_600.0).floor(),
            (s % 3_600.0 / 60.0).floor()
        ),
    }
}

/// A moment, in UTC.
pub(crate) fn moment(seconds: f64) -> String {
    match DateTime::from_timestamp(seconds.floor() as i64, 0) {
        Some(moment) => moment.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "an unknown time".to_string(),
    }
}

/// A count with its noun, which takes an s.
pub(crate) fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// A text cut to some characters.
pub(crate) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.046_415_888, "0.04642"),
            (0.1, "0.1"),
            (128.0, "128"),
            (1_234_567.0, "1234567"),
            (2.34567, "2.346"),
            (12345.678, "12346"),
            (0.000_012_34, "1.234e-5"),
            (1e-5, "1e-5"),
            (-2.5, "-2.5"),
            (1e12, "1e12"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn shares_keep_what_tells_good_networks_apart() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.0053, "0.53 %"),
            (0.000_12, "0.012 %"),
            (0.9942, "99.4 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0.0123, "12 ms"),
            (2.34, "2.3 s"),
            (125.0, "2 min 05 s"),
            (7_384.0, "2 h 03 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(clip("größer", 6), "größer");
        assert_eq!(clip("größere", 6), "größe…");
    }
}
