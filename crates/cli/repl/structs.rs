//! Completion inside the struct argument of `train` and `tune`: after `train('x', {lear` the
//! keys of hyperparameters are offered.

use atoll_nn::Augmentation;
use atoll_session::hyperparameters;

use crate::script::{SegmentKind, segments};

/// A bracket that is open where the cursor is.
struct Open {
    bracket: char,
    /// The word before it: a function, or the key whose value it starts.
    name: String,
    /// Commas in it so far.
    commas: usize,
}

/// The keys that can be typed after `before`, if a key is what comes next.
pub(super) fn keys(before: &str) -> Option<Vec<&'static str>> {
    let code = without_texts(before);
    if !code.trim_end().ends_with(['{', ',']) {
        return None;
    }
    let open = open_brackets(&code);
    let (last, outer) = open.split_last()?;
    match outer {
        [.., call] if last.bracket == '{' && trains(call) => {
            let keys = hyperparameters().into_iter().map(|row| row.key);
            // The keys of a struct in it come with their path.
            Some(keys.filter(|key| !key.contains('.')).collect())
        }
        [.., call, keys]
            if last.bracket == '{'
                && last.name == "augmentation"
                && keys.bracket == '{'
                && trains(call) =>
        {
            Some(Augmentation::keys().to_vec())
        }
        _ => None,
    }
}

/// Whether the hyperparameters of a call come next.
fn trains(open: &Open) -> bool {
    open.bracket == '(' && open.commas == 1 && ["train", "tune"].contains(&&*open.name)
}

/// The text with its literals, quoted names and comments blanked out, whose brackets and
/// commas are no code.
fn without_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for (kind, range) in segments(text) {
        match kind {
            SegmentKind::Code => code.push_str(&text[range]),
            SegmentKind::Text | SegmentKind::Name | SegmentKind::Comment => {
                code.push('\u{fffd}')
            }
        }
    }
    code
}

fn open_brackets(code: &str) -> Vec<Open> {
    let mut open: Vec<Open> = Vec::new();
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => open.push(Open {
                bracket: c,
                name: word_before(&code[..at]),
                commas: 0,
            }),
            ')' | ']' | '}' => {
                open.pop();
            }
            ',' => {
                if let Some(last) = open.last_mut() {
                    last.commas += 1;
                }
            }
            _ => {}
        }
    }
    open
}

/// The word in front of a bracket, in lower case.
fn word_before(code: &str) -> String {
    let code = code.trim_end().trim_end_matches(':').trim_end();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = code.rfind(|c| !is_word(c)).map_or(0, |at| {
        at + code[at..].chars().next().map_or(1, char::len_utf8)
    });
    code[start..].to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, expected: Option<&str>) {
        let found = keys(before).map(|keys| keys[0]);
        assert_eq!(found, expected, "{before}");
    }

    #[test]
    fn only_the_struct_of_train_has_hyperparameters() {
        let first = Some(hyperparameters()[0].key);
        check("SELECT train('a', {", first);
        check("SELECT * FROM tune('a', {", first);
        check("SELECT TRAIN ('a, {', {epochs: 1, ", first);
        check("SELECT train('a', {filters: [1, 2], ", first);
        check("SELECT train('a', {epochs: ", None);
        check("SELECT train({", None);
        check("SELECT train('a', {epochs: 1}, {", None);
        check("SELECT predict('a', {", None);
        check("SELECT {", None);
    }

    #[test]
    fn augmentation_has_keys_of_its_own() {
        let first = Some(Augmentation::keys()[0]);
        check("SELECT train('a', {augmentation: {", first);
        check("SELECT train('a', {other: {", None);
    }
}
