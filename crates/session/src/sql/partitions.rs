//! Names of partition columns, as the parser leaves them.

use datafusion::sql::parser::Statement;

/// Takes the quotes off the columns of `PARTITIONED BY ("Day", "my col")`, which the
/// parser gives as they are written.
pub(crate) fn unquote_columns(statement: &mut Statement) {
    let columns = match statement {
        Statement::CopyTo(copy) => &mut copy.partitioned_by,
        Statement::CreateExternalTable(create) => &mut create.table_partition_cols,
        Statement::Explain(explain) => {
            return unquote_columns(&mut explain.statement);
        }
        _ => return,
    };
    for column in columns {
        let quoted = column
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        if let Some(quoted) = quoted {
            *column = quoted.replace("\"\"", "\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    #[test]
    fn quotes_are_taken_off() {
        let sql = "EXPLAIN COPY t TO 'x/' STORED AS PARQUET \
                   PARTITIONED BY (\"Day\", \"a \"\"b\"\"\", plain)";
        let mut statements = DFParser::parse_sql(sql).unwrap();
        let mut statement = statements.pop_front().unwrap();
        unquote_columns(&mut statement);
        let Statement::Explain(explain) = statement else {
            panic!("EXPLAIN is parsed as such");
        };
        let Statement::CopyTo(copy) = *explain.statement else {
            panic!("COPY is parsed as such");
        };
        assert_eq!(copy.partitioned_by, ["Day", "a \"b\"", "plain"]);
    }
}
