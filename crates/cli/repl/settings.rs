//! What commands of the prompt set, for the statements after them.

use crate::errors::Failure;
use crate::output::usual_pager;
use crate::script::Script;

/// The settings of a prompt that are not the session's.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The program that shows results which are longer than the screen.
    pub(super) pager: Pager,
    /// The values of `${name}` in statements and scripts, sorted by name.
    pub(super) set: Vec<(String, String)>,
    /// The latest statements that ran, for those commands that repeat them.
    pub(crate) last: Option<String>,
}

/// Which program shows long results.
#[derive(Debug, PartialEq)]
pub(super) enum Pager {
    /// That of the environment, or `less` if it is installed.
    Usual,
    Off,
    Command(String),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pager: Pager::Usual,
            set: Vec::new(),
            last: None,
        }
    }
}

impl Settings {
    /// The command of the pager, if there is one.
    pub(super) fn pager(&self) -> Option<String> {
        match &self.pager {
            Pager::Usual => usual_pager(),
            Pager::Off => None,
            Pager::Command(command) => Some(command.clone()),
        }
    }

    /// Gives a parameter a value.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let pair = (name.to_string(), value.to_string());
        match self
            .set
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
        {
            Ok(at) => self.set[at] = pair,
            Err(at) => self.set.insert(at, pair),
        }
    }

    /// Fills parameters into what was typed. Without parameters there is nothing to
    /// fill in, and `${` means what SQL says.
    pub(super) fn fill(&self, text: &str) -> Result<String, Failure> {
        if self.set.is_empty() {
            return Ok(text.to_string());
        }
        match Script::new("statement", text, &self.set) {
            Ok(script) => Ok(script.text),
            Err(failure) => {
                let near = failure.hint.as_deref().and_then(|hint| {
                    let (near, _) = hint.split_once('?')?;
                    Some(format!("{near}? "))
                });
                let near = near.unwrap_or_default();
                Err(failure.hint(format!(
                    "{near}\\set NAME VALUE defines one; to write ${{ itself, write $${{"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_fill_what_is_typed() {
        let mut settings = Settings::default();
        assert_eq!(settings.fill("SELECT '${x}'").unwrap(), "SELECT '${x}'");
        settings.set("x", "it's");
        settings.set("a", "1");
        settings.set("a", "2");
        assert_eq!(
            settings.fill("SELECT '${x}', ${a}").unwrap(),
            "SELECT 'it''s', 2"
        );
        let failure = settings.fill("SELECT ${b}").unwrap_err();
        assert!(
            failure.message.contains("${b} is not defined"),
            "{failure:?}"
        );
        assert!(failure.hint.unwrap().contains("\\set NAME VALUE"));
    }
}
