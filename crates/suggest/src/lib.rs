//! The valid name that a misspelt one was probably meant to be: `did you mean epochs?`.
//!
//! Every error that names an unknown option, column, job or layer asks here, so that one
//! threshold decides for all of them what is near enough.

/// How alike two names must be, by the similarity of Jaro and Winkler, from 0 to 1.
///
/// `lr` for `learning_rate` has 0.746, and users of other tools do write that. Names that
/// have nothing to do with each other are seldom above 0.7.
const ALIKE: f64 = 0.74;

/// The candidate most like `word`, if one is alike enough to be a misspelling of it.
///
/// Upper and lower case are different letters. Of candidates that are equally alike it is
/// the last.
///
/// ```
/// let layers = ["conv", "dense", "max_pool"];
/// assert_eq!(atoll_suggest::nearest("cnov", layers), Some("conv"));
/// assert_eq!(atoll_suggest::nearest("attention", layers), None);
/// ```
pub fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// How alike two names are, from 0 to 1. Two neighbours that changed places are as good as
/// the name itself, which the similarity of Jaro and Winkler does not see in short words.
fn likeness(word: &str, candidate: &str) -> f64 {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    if word != candidate
        && letters(word) == letters(candidate)
        && strsim::osa_distance(word, candidate) == 1
    {
        return 1.0;
    }
    strsim::jaro_winkler(word, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(word, candidates.iter().copied()), expected);
    }

    #[test]
    fn slips_and_abbreviations_are_recognised() {
        check("epocs", &["out", "epochs"], Some("epochs"));
        check("rnu", &["run", "runs"], Some("run"));
        check("lr", &["hidden", "learning_rate"], Some("learning_rate"));
        check("timeout", &["retries", "timeout_ms"], Some("timeout_ms"));
    }

    #[test]
    fn other_words_are_not() {
        check("zzz", &["out", "epochs"], None);
        check("anything", &[], None);
    }
}
