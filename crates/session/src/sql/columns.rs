//! Columns called as constraints begin: `CREATE TABLE m (key BIGINT, index TEXT)`.
//!
//! The parser takes such a word for a constraint, and what follows it for a mistake. DuckDB
//! and Spark take it for a name, so it is put in quotes where a type follows.
//!
//! And functions called as statements begin: `SELECT x, explain(..)` ends at the comma for the
//! parser, because no column is called `explain`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::tokens::Tokens;

/// Words that begin a constraint.
const NAMES: [&str; 9] = [
    "CHECK", "EXCLUDE", "FOREIGN", "FULLTEXT", "INDEX", "KEY", "PRIMARY", "SPATIAL",
    "UNIQUE",
];

/// Words that follow one in a constraint.
const GO_ON: [&str; 5] = ["INDEX", "KEY", "NULLS", "USING", "WITH"];

/// Puts the names of functions in quotes that are words at which statements begin.
pub(super) fn quote_calls(tokens: &mut Tokens) {
    for index in tokens.start() + 1..tokens.len() {
        if tokens.are(index, &["EXPLAIN"])
            && tokens.token(index + 1) == Some(&Token::LParen)
        {
            quote_word(tokens, index);
        }
    }
}

/// Puts the names of such columns in quotes.
pub(super) fn quote(tokens: &mut Tokens) {
    const MODIFIERS: [&str; 7] = [
        "OR",
        "REPLACE",
        "TEMP",
        "TEMPORARY",
        "LOCAL",
        "GLOBAL",
        "EXTERNAL",
    ];
    let mut index = tokens.start();
    if !tokens.are(index, &["CREATE"]) {
        return;
    }
    index += 1;
    while tokens.is_one_of(index, &MODIFIERS) {
        index += 1;
    }
    if !tokens.are(index, &["TABLE"]) {
        return;
    }
    while tokens.token(index) != Some(&Token::LParen) {
        if index >= tokens.len() || tokens.are(index, &["AS"]) {
            return;
        }
        index += 1;
    }
    let end = tokens.after_bracket(index);
    while index < end {
        // At the bracket, or at a comma between two columns.
        let name = index + 1;
        if is_name(tokens, name) {
            quote_word(tokens, name);
        }
        index = name;
        while index < end && tokens.token(index) != Some(&Token::Comma) {
            index = match tokens.token(index) {
                Some(Token::LParen) => tokens.after_bracket(index),
                _ => index + 1,
            };
        }
    }
}

/// Whether the word at a place names a column: a type follows it.
fn is_name(tokens: &Tokens, index: usize) -> bool {
    tokens.is_one_of(index, &NAMES)
        && !tokens.is_one_of(index + 1, &GO_ON)
        && tokens
            .word(index + 1)
            .is_some_and(|word| word.keyword != Keyword::NoKeyword)
}

fn quote_word(tokens: &mut Tokens, index: usize) {
    let (Some(word), Some(token)) = (tokens.word(index), tokens.get(index)) else {
        return;
    };
    let quoted = Word {
        value: word.value.to_ascii_lowercase(),
        quote_style: Some('"'),
        keyword: Keyword::NoKeyword,
    };
    let token = TokenWithSpan::new(Token::Word(quoted), token.span);
    tokens.replace(index..index + 1, [token]);
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::LogicalPlan;

    use super::super::testing::{check, check_error, plan, run};

    #[test]
    fn words_that_begin_constraints_are_names_before_a_type() {
        for (columns, expected) in [
            ("key BIGINT, Index TEXT", "key, index"),
            (
                "id INT, unique DECIMAL(9, 2), key DOUBLE",
                "id, unique, key",
            ),
            (
                "primary BOOLEAN, check DATE, foreign INT",
                "primary, check, foreign",
            ),
            ("\"KEY\" BIGINT, fulltext TEXT NOT NULL", "KEY, fulltext"),
        ] {
            let plan = run(plan(&format!("CREATE TABLE n ({columns})"))).unwrap();
            let names: Vec<&str> = plan.inputs()[0]
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            assert_eq!(names.join(", "), expected, "{columns}");
        }
        check(
            "CREATE TABLE n (key BIGINT, id INT) PARTITIONED BY (key)",
            &[
                "CreateMemoryTable: Bare { table: \"n\" }",
                "PartitionedBy: key",
                "EmptyRelation: rows=0",
            ],
        );
    }

    #[test]
    fn explain_may_be_a_function_anywhere() {
        for sql in [
            "SELECT explain('m.onnx', NULL)",
            "SELECT 1 AS one, explain('m.onnx', NULL), EXPLAIN ('m.onnx', NULL) AS two",
        ] {
            run(plan(sql)).unwrap();
        }
        let statement = run(plan("EXPLAIN SELECT 1 AS one")).unwrap();
        assert!(matches!(statement, LogicalPlan::Explain(_)));
    }

    #[test]
    fn constraints_stay_what_they_are() {
        for constraint in ["KEY i (id)", "INDEX (id)", "INDEX i USING BTREE (id)"] {
            let sql = format!("CREATE TABLE n (id INT, {constraint})");
            check_error(&sql, "Indexes are not currently supported");
        }
        check_error(
            "CREATE TABLE n (id INT, constraint BIGINT)",
            "Expected: PRIMARY, UNIQUE, FOREIGN, or CHECK, found: ) at Line: 1, \
             Column: 42\")",
        );
    }
}
