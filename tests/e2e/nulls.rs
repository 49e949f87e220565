//! NULL of a struct in files of others, and what a scan reads of a struct.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::ipc::writer::FileWriter;
use datafusion::parquet::arrow::ArrowWriter;

use crate::support::Atoll;

/// Two rows of a struct, of which the second is NULL and has values below.
fn rows() -> RecordBatch {
    let fields = vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
    ];
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![10, 20])),
        Arc::new(StringArray::from(vec!["x", "y"])),
    ];
    let nulls = vec![true, false].into();
    let structs = StructArray::new(fields.into(), values, Some(nulls));
    let field = Field::new("s", structs.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![Arc::new(structs)]).unwrap()
}

fn arrow_file(folder: &Path) -> PathBuf {
    let (file, rows) = (folder.join("struct.arrow"), rows());
    let sink = File::create(&file).unwrap();
    let mut writer = FileWriter::try_new(sink, &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    file
}

fn parquet_file(folder: &Path) -> PathBuf {
    let (file, rows) = (folder.join("struct.parquet"), rows());
    let sink = File::create(&file).unwrap();
    let mut writer = ArrowWriter::try_new(sink, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    file
}

fn csv(atoll: &Atoll, sql: &str) -> String {
    atoll.run(&["--format", "csv", "-c", sql]).ok().stdout
}

#[test]
fn a_field_of_null_is_null_in_every_file() {
    let atoll = Atoll::new();
    for file in [arrow_file(&atoll.path("")), parquet_file(&atoll.path(""))] {
        let file = file.display();
        for sql in [
            format!("SELECT s.a, s.b FROM '{file}'"),
            format!("SELECT s.* FROM '{file}'"),
            format!("SELECT a, b FROM (SELECT unnest(s) FROM '{file}') AS u(a, b)"),
        ] {
            assert_eq!(csv(&atoll, &sql), "a,b\n10,x\n,\n", "{sql}");
        }
        let null = format!("SELECT count(*) AS n FROM '{file}' WHERE s.b IS NULL");
        assert_eq!(csv(&atoll, &null), "n\n1\n");
    }
}

/// The other fields of a struct may be large.
#[test]
fn one_field_of_a_parquet_file_is_read_by_itself() {
    let atoll = Atoll::new();
    let file = parquet_file(&atoll.path(""));
    let file = file.display();
    for sql in [
        format!("EXPLAIN SELECT s.a FROM '{file}'"),
        format!("EXPLAIN SELECT t.s.a FROM (SELECT s FROM '{file}') AS t"),
    ] {
        let plan = csv(&atoll, &sql);
        let narrow = "projection=[get_field(CAST(s@0 AS Struct(\"\"a\"\": ";
        assert!(
            plan.contains("\"DataSourceExec: ") && plan.contains(narrow),
            "{plan}"
        );
    }
}

/// Values below NULL are written to no file.
#[test]
fn a_copy_of_null_has_nothing_below() {
    let atoll = Atoll::new();
    for format in ["parquet", "json", "arrow"] {
        let file = atoll.path(&format!("copy.{format}")).display().to_string();
        let sql = format!(
            "COPY (SELECT id, CASE WHEN id > 0 THEN s END AS s FROM (VALUES
                 (1, {{a: 10, l: [1]}}), (0, {{a: 20, l: [2]}})) AS t(id, s)) TO '{file}';
             SELECT id, s.a, s.l[1] AS l, s IS NULL AS none FROM '{file}' ORDER BY id"
        );
        let shown = csv(&atoll, &sql);
        assert_eq!(
            shown, "count\n2\nid,a,l,none\n0,,,true\n1,10,1,false\n",
            "{format}"
        );
    }
}
