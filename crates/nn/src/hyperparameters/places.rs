//! Hyperparameters that a list of layers names: `dense(hidden), relu, dropout(dropout)`.

use std::ops::Range;

/// Whether a list of layers names a hyperparameter.
pub(super) fn names(layers: &str, name: &str) -> bool {
    places(layers, name).next().is_some()
}

/// The layers with a value wherever they name a hyperparameter.
pub(super) fn fill(layers: &str, name: &str, value: &str) -> String {
    let mut filled = String::with_capacity(layers.len());
    let mut from = 0;
    for place in places(layers, name) {
        filled.push_str(&layers[from..place.start]);
        filled.push_str(value);
        from = place.end;
    }
    filled + &layers[from..]
}

/// Where a hyperparameter is named: a word that is no layer, which has its arguments
/// after it, and stands within some.
fn places<'a>(layers: &'a str, name: &'a str) -> impl Iterator<Item = Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    layers.match_indices(name).filter_map(move |(start, _)| {
        let (before, after) = (&layers[..start], &layers[start + name.len()..]);
        let is_whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let is_value = before.trim_end().ends_with(['(', ',', ':'])
            && after.trim_start().starts_with([')', ',']);
        let is_inside = before.matches('(').count() > before.matches(')').count();
        (is_whole && is_value && is_inside).then(|| start..start + name.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_are_filled() {
        let layers =
            "conv(4, 3), dropout, dropout(dropout), dense(units: hidden), hidden";
        assert_eq!(
            fill(layers, "dropout", "0.5"),
            "conv(4, 3), dropout, dropout(0.5), dense(units: hidden), hidden"
        );
        assert!(names(layers, "hidden"));
        assert!(!names("dense(hidden_units), hidden", "hidden"));
    }
}
