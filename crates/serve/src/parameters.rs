//! Placeholders in statements: `?`, `$1` and `$name`.

use std::collections::HashMap;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{DataFusionError, ParamValues, Result, ScalarValue, plan_err};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// A statement and the names of its placeholders.
#[derive(Debug, PartialEq)]
pub(crate) struct Placeholders {
    /// The statement with `$1`, `$2` .. in place of question marks, which the planner
    /// does not tell apart.
    pub(crate) sql: String,
    /// The names without their `$`, in the order of their numbers or else of their
    /// first use.
    pub(crate) names: Vec<String>,
}

impl Placeholders {
    pub(crate) fn of(sql: &str) -> Result<Self> {
        let mut found = Self {
            sql: String::with_capacity(sql.len()),
            names: vec![],
        };
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
        let Ok(tokens) = tokens else {
            // The planner will say what is wrong with it.
            found.sql = sql.to_string();
            return Ok(found);
        };
        let lines = SqlLines::of(sql);
        let (mut copied, mut questions) = (0, 0);
        for token in &tokens {
            let Token::Placeholder(name) = &token.token else {
                continue;
            };
            match name.strip_prefix('$') {
                Some(name) => {
                    if !found.names.iter().any(|known| known == name) {
                        found.names.push(name.to_string());
                    }
                }
                None if name == "?" => {
                    questions += 1;
                    let start =
                        lines.offset(token.span.start.line, token.span.start.column);
                    found.sql.push_str(&sql[copied..start]);
                    found.sql.push_str(&format!("${questions}"));
                    copied = start + name.len();
                }
                None => return plan_err!("placeholders are ?, $1 or $name, got {name}"),
            }
        }
        found.sql.push_str(&sql[copied..]);
        if questions > 0 && !found.names.is_empty() {
            return plan_err!("write all placeholders as ? or all as $1, not both");
        }
        found
            .names
            .extend((1..=questions).map(|n: usize| n.to_string()));
        found.sort()?;
        Ok(found)
    }

    /// Numbers go by their values and have no gaps.
    fn sort(&mut self) -> Result<()> {
        let numbers: Option<Vec<usize>> =
            self.names.iter().map(|name| name.parse().ok()).collect();
        let Some(mut numbers) = numbers else {
            return Ok(());
        };
        numbers.sort_unstable();
        for (wanted, number) in (1..).zip(&numbers) {
            if *number != wanted {
                return plan_err!(
                    "placeholders are numbered from $1 without gaps, got ${number} and \
                     no ${wanted}"
                );
            }
        }
        self.names = numbers.iter().map(usize::to_string).collect();
        Ok(())
    }

    /// The values of one row: by the names of columns where all fit, else by their order.
    pub(crate) fn values(&self, rows: &RecordBatch, row: usize) -> Result<ParamValues> {
        let by_name: Option<Vec<usize>> = self
            .names
            .iter()
            .map(|name| rows.schema_ref().index_of(name).ok())
            .collect();
        let columns = match by_name {
            // Drivers name the columns of ? and $1 as they like, some from 0.
            Some(columns)
                if self.names.iter().any(|name| name.parse::<usize>().is_err()) =>
            {
                columns
            }
            _ if rows.num_columns() != self.names.len() => {
                return plan_err!(
                    "the statement has {} parameters, got {}",
                    self.names.len(),
                    rows.num_columns()
                );
            }
            _ => (0..rows.num_columns()).collect(),
        };
        let values = self.names.iter().zip(columns).map(|(name, column)| {
            let value = ScalarValue::try_from_array(rows.column(column), row)?;
            Ok::<_, DataFusionError>((name.clone(), ScalarAndMetadata::from(value)))
        });
        let values = values.collect::<Result<HashMap<_, _>>>()?;
        Ok(ParamValues::Map(values))
    }
}

/// Where lines begin, for the places that the tokenizer gives.
struct SqlLines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> SqlLines<'a> {
    fn of(sql: &'a str) -> Self {
        let ends = sql.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            sql,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The byte at a line and a column, both from 1; columns count characters.
    fn offset(&self, line: u64, column: u64) -> usize {
        let index = usize::try_from(line).unwrap_or(1).saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or(self.sql.len());
        let skip = usize::try_from(column).unwrap_or(1).saturating_sub(1);
        let mut characters = self.sql[start..].char_indices();
        characters
            .nth(skip)
            .map_or(self.sql.len(), |(at, _)| start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str, names: &[&str]) {
        let found = Placeholders::of(sql).unwrap();
        assert_eq!(found.sql, expected);
        assert_eq!(found.names, names);
    }

    #[test]
    fn question_marks_get_numbers() {
        check("SELECT ?, ?", "SELECT $1, $2", &["1", "2"]);
        check(
            "SELECT 'ä?',\n  ? -- ?\n",
            "SELECT 'ä?',\n  $1 -- ?\n",
            &["1"],
        );
        check(
            "SELECT 'it''s', \"?\", ?+1",
            "SELECT 'it''s', \"?\", $1+1",
            &["1"],
        );
    }

    #[test]
    fn numbers_may_repeat_and_come_in_any_order() {
        check("SELECT $2, $1, $2", "SELECT $2, $1, $2", &["1", "2"]);
        check("SELECT $b, $a", "SELECT $b, $a", &["b", "a"]);
        check("SELECT 1", "SELECT 1", &[]);
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        for sql in ["SELECT ?, $1", "SELECT $2", "SELECT ?1"] {
            assert!(Placeholders::of(sql).is_err(), "{sql}");
        }
    }
}
