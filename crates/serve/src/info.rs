//! The answers to `GetSqlInfo` and `GetXdbcTypeInfo`: the server's name, what its SQL can do,
//! and its types. Drivers ask for them when they connect.

use std::sync::Arc;

use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData,
    XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetSqlInfo, CommandGetXdbcTypeInfo, Nullable, Searchable, SqlInfo,
    SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
    XdbcDatetimeSubcode,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use crate::catalog::failed;

pub(crate) fn sql_info_schema() -> SchemaRef {
    Arc::new(SqlInfoDataBuilder::schema().clone())
}

pub(crate) fn sql_info(command: CommandGetSqlInfo) -> Result<RecordBatch> {
    let data = data()?;
    command.into_builder(&data).build().map_err(failed)
}

fn data() -> Result<SqlInfoData> {
    let mut data = SqlInfoDataBuilder::new();
    data.append(SqlInfo::FlightSqlServerName, "Atoll");
    data.append(SqlInfo::FlightSqlServerVersion, atoll_session::VERSION);
    // Of the format, as the project numbers it, and not of the library.
    data.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    data.append(SqlInfo::FlightSqlServerReadOnly, false);
    data.append(SqlInfo::FlightSqlServerSql, true);
    data.append(SqlInfo::FlightSqlServerSubstrait, false);
    let none = SqlSupportedTransaction::None as i32;
    data.append(SqlInfo::FlightSqlServerTransaction, none);
    data.append(SqlInfo::FlightSqlServerCancel, true);
    data.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    data.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    data.append(SqlInfo::FlightSqlServerStatementTimeout, 0i32);
    data.append(SqlInfo::FlightSqlServerTransactionTimeout, 0i32);
    data.append(SqlInfo::SqlDdlCatalog, false);
    data.append(SqlInfo::SqlDdlSchema, false);
    data.append(SqlInfo::SqlDdlTable, true);
    let lower = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
    data.append(SqlInfo::SqlIdentifierCase, lower);
    data.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    let exact = SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32;
    data.append(SqlInfo::SqlQuotedIdentifierCase, exact);
    data.append(SqlInfo::SqlTransactionsSupported, false);
    data.build().map_err(failed)
}

pub(crate) fn types_schema() -> Result<SchemaRef> {
    Ok(type_data()?.schema())
}

pub(crate) fn types(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch> {
    let data = type_data()?;
    command.into_builder(&data).build().map_err(failed)
}

fn type_data() -> Result<XdbcTypeInfoData> {
    use XdbcDataType::{
        XdbcBigint, XdbcBit, XdbcDate, XdbcDecimal, XdbcDouble, XdbcFloat, XdbcInteger,
        XdbcSmallint, XdbcTimestamp, XdbcTinyint, XdbcVarbinary, XdbcVarchar,
    };
    let mut data = XdbcTypeInfoDataBuilder::new();
    for (name, code, size) in [
        ("TINYINT", XdbcTinyint, 3),
        ("SMALLINT", XdbcSmallint, 5),
        ("INTEGER", XdbcInteger, 10),
        ("BIGINT", XdbcBigint, 19),
        ("REAL", XdbcFloat, 7),
        ("DOUBLE", XdbcDouble, 15),
        ("DECIMAL", XdbcDecimal, 38),
    ] {
        data.append(XdbcTypeInfo {
            column_size: Some(size),
            unsigned_attribute: Some(false),
            num_prec_radix: Some(10),
            create_params: (name == "DECIMAL")
                .then(|| vec!["precision".to_string(), "scale".to_string()]),
            ..of_type(name, code)
        });
    }
    data.append(of_type("BOOLEAN", XdbcBit));
    data.append(XdbcTypeInfo {
        literal_prefix: Some("'".to_string()),
        literal_suffix: Some("'".to_string()),
        case_sensitive: true,
        searchable: Searchable::Full,
        ..of_type("VARCHAR", XdbcVarchar)
    });
    data.append(XdbcTypeInfo {
        literal_prefix: Some("X'".to_string()),
        literal_suffix: Some("'".to_string()),
        ..of_type("BYTEA", XdbcVarbinary)
    });
    // The library's name for 1 is Year; as the subcode of a time point 1 means a date.
    for (name, code, size, subcode) in [
        ("DATE", XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear),
        (
            "TIMESTAMP",
            XdbcTimestamp,
            29,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
        ),
    ] {
        data.append(XdbcTypeInfo {
            column_size: Some(size),
            literal_prefix: Some(format!("{name} '")),
            literal_suffix: Some("'".to_string()),
            datetime_subcode: Some(subcode),
            ..of_type(name, code)
        });
    }
    data.build().map_err(failed)
}

fn of_type(name: &str, code: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_string(),
        data_type: code,
        sql_data_type: code,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Basic,
        ..XdbcTypeInfo::default()
    }
}
