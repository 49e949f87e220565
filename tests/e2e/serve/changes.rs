//! Statements that change something do so when they are executed, once, whether or not
//! anybody reads their results.

use arrow_flight::FlightDescriptor;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    CommandStatementIngest, ProstMessageExt, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use datafusion::arrow::array::{RecordBatch, create_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use tonic::Code;

use super::{Client, Service, check, fetch, query, refused, row};

#[track_caller]
fn fails(error: &dyn std::fmt::Display, part: &str) {
    let text = error.to_string();
    assert!(text.contains(part), "{text}");
}

/// The one value that a query gives.
async fn value(client: &mut Client, sql: &str) -> String {
    let rows = query(client, &format!("SELECT ({sql}) AS v"))
        .await
        .unwrap();
    super::show(&rows)[1].clone()
}

const SIZE: &str = "SELECT value FROM information_schema.df_settings \
    WHERE name = 'datafusion.execution.batch_size'";

#[tokio::test]
async fn what_nobody_reads_is_done_all_the_same() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let file = service.atoll.path("out.csv");
    let copy = format!("COPY (SELECT 1 AS n) TO '{}'", file.display());
    for is_prepared in [false, true] {
        let mut run = async |sql: &str| {
            match is_prepared {
                false => drop(client.execute(sql.to_string(), None).await.unwrap()),
                true => {
                    let mut made = client.prepare(sql.to_string(), None).await.unwrap();
                    made.execute().await.unwrap();
                    made.close().await.unwrap();
                }
            };
        };
        run("CREATE TABLE t AS SELECT 1 AS n").await;
        run("CREATE VIEW v AS SELECT n + 1 AS n FROM t").await;
        run("INSERT INTO t VALUES (10)").await;
        run("SET datafusion.execution.batch_size = 77").await;
        run(&copy).await;
        assert_eq!(value(&mut client, "SELECT sum(n) FROM v").await, "13");
        assert_eq!(value(&mut client, SIZE).await, "77");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "n\n1\n");
        std::fs::remove_file(&file).unwrap();
        let mut run = async |sql: &str| {
            let _ = client.execute(sql.to_string(), None).await.unwrap();
        };
        run("DROP VIEW v").await;
        run("DROP TABLE t").await;
        run("SET datafusion.execution.batch_size = 78").await;
        let error = query(&mut client, "SELECT * FROM t").await.unwrap_err();
        refused(error, Code::InvalidArgument, "no table named t");
    }
}

#[tokio::test]
async fn a_change_happens_once_for_each_time_it_is_executed() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    query(&mut client, "CREATE TABLE t AS SELECT 1 AS n")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES (1)";
    // Asking for columns is not executing, and reading the result is not a second time.
    client.prepare(insert.to_string(), None).await.unwrap();
    let info = client.execute(insert.to_string(), None).await.unwrap();
    let (_, rows) = fetch(&mut client, info.clone()).await.unwrap();
    check(&rows, &["count", "1"]);
    assert!(fetch(&mut client, info).await.is_err());
    assert_eq!(value(&mut client, "SELECT count(*) FROM t").await, "2");
    client.execute(insert.to_string(), None).await.unwrap();
    assert_eq!(
        client
            .execute_update(insert.to_string(), None)
            .await
            .unwrap(),
        1
    );
    assert_eq!(value(&mut client, "SELECT count(*) FROM t").await, "4");
    let sql = "INSERT INTO t SELECT CAST(? AS BIGINT)";
    let mut prepared = client.prepare(sql.to_string(), None).await.unwrap();
    let rows = create_array!(Int64, [1, 2, 3]) as _;
    prepared.set_parameters(row(vec![("n", rows)])).unwrap();
    prepared.execute().await.unwrap();
    prepared.execute().await.unwrap();
    assert_eq!(value(&mut client, "SELECT count(*) FROM t").await, "10");
}

#[tokio::test]
async fn a_failing_change_says_so_when_it_is_executed() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let mut run = async |sql: &str| client.execute(sql.to_string(), None).await;
    run("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    fails(
        &run("CREATE TABLE t AS SELECT 1 AS n").await.unwrap_err(),
        "exists already",
    );
    fails(
        &run("CREATE TABLE f AS SELECT CAST('x' || n AS INT) AS n FROM t")
            .await
            .unwrap_err(),
        "x1",
    );
    fails(&run("DROP TABLE nope").await.unwrap_err(), "nope");
    fails(&run("SET no.such = 1").await.unwrap_err(), "namespace");
    assert!(!service.atoll.path("storage/tables/f").exists());
    // Explaining is not doing.
    query(&mut client, "EXPLAIN CREATE TABLE e AS SELECT 1 AS n")
        .await
        .unwrap();
    assert!(query(&mut client, "SELECT * FROM e").await.is_err());
}

#[tokio::test]
async fn what_execute_runs_decides() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let mut run = async |sql: &str| client.execute(sql.to_string(), None).await;
    run("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    run("PREPARE put AS INSERT INTO t VALUES ($1)")
        .await
        .unwrap();
    run("PREPARE get AS SELECT n + $1 AS n FROM t ORDER BY n")
        .await
        .unwrap();
    run("EXECUTE put(5)").await.unwrap();
    let error = run("PREPARE made AS CREATE TABLE u AS SELECT 1").await;
    fails(&error.unwrap_err(), "PREPARE takes a query");
    let info = run("EXECUTE get(10)").await.unwrap();
    let announced = info.clone().try_decode_schema().unwrap();
    assert_eq!(announced.field(0).name(), "n");
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    check(&rows, &["n", "11", "15"]);
}

#[tokio::test]
async fn uploads_without_rows_make_tables_with_columns() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let rows = |count: i64| {
        let numbers = create_array!(Int64, (0..count).collect::<Vec<_>>()) as _;
        let texts = vec!["a"; count as usize];
        let texts = create_array!(Utf8, texts) as _;
        row(vec![("n", numbers), ("s", texts)])
    };
    let upload = async |client: &mut Client, options: (i32, i32), batch| {
        let command = CommandStatementIngest {
            table: "t".to_string(),
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: options.0,
                if_exists: options.1,
            }),
            ..CommandStatementIngest::default()
        };
        client
            .execute_ingest(command, futures::stream::iter([Ok(batch)]))
            .await
    };
    let create = TableNotExistOption::Create as i32;
    let must_exist = TableNotExistOption::Fail as i32;
    let fail = TableExistsOption::Fail as i32;
    let append = TableExistsOption::Append as i32;
    let replace = TableExistsOption::Replace as i32;
    let empty = || RecordBatch::new_empty(schema.clone().into());
    assert_eq!(
        upload(&mut client, (create, fail), empty()).await.unwrap(),
        0
    );
    let columns = "SELECT count(n) + count(s) FROM t";
    assert_eq!(value(&mut client, columns).await, "0");
    let again = upload(&mut client, (create, fail), empty()).await;
    fails(&again.unwrap_err(), "exists already");
    upload(&mut client, (create, replace), rows(2))
        .await
        .unwrap();
    assert_eq!(value(&mut client, columns).await, "4");
    upload(&mut client, (create, replace), empty())
        .await
        .unwrap();
    assert_eq!(value(&mut client, columns).await, "0");
    upload(&mut client, (must_exist, append), rows(3))
        .await
        .unwrap();
    upload(&mut client, (create, append), empty())
        .await
        .unwrap();
    assert_eq!(value(&mut client, columns).await, "6");
    query(&mut client, "DROP TABLE t").await.unwrap();
    let missing = upload(&mut client, (must_exist, append), rows(1)).await;
    fails(&missing.unwrap_err(), "there is no table t to append to");
    upload(&mut client, (create, append), empty())
        .await
        .unwrap();
    assert_eq!(value(&mut client, columns).await, "0");
    // Columns go by their names; one that is missing is NULL.
    let other = row(vec![("s", create_array!(Utf8, ["b"]) as _)]);
    upload(&mut client, (must_exist, append), other)
        .await
        .unwrap();
    assert_eq!(value(&mut client, columns).await, "1");
    let other = row(vec![("x", create_array!(Utf8, ["b"]) as _)]);
    let unknown = upload(&mut client, (must_exist, append), other).await;
    fails(&unknown.unwrap_err(), "the table t has no column x");
}

#[tokio::test]
async fn an_upload_may_have_columns_and_no_batch_but_not_nothing() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let command = CommandStatementIngest {
        table: "t".to_string(),
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create as i32,
            if_exists: TableExistsOption::Fail as i32,
        }),
        ..CommandStatementIngest::default()
    };
    let command = prost::Message::encode_to_vec(&ProstMessageExt::as_any(&command));
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema.into())
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(futures::stream::empty());
    let messages: Vec<_> = messages.try_collect().await.unwrap();
    let put = futures::stream::iter(messages);
    client.inner_mut().do_put(put).await.unwrap();
    assert_eq!(value(&mut client, "SELECT count(n) FROM t").await, "0");
    let nothing = client.inner_mut().do_put(futures::stream::empty()).await;
    fails(&nothing.unwrap_err().message(), "the upload is empty");
}

#[tokio::test]
async fn under_one_write_id_every_way_to_send_a_statement_changes_rows_once() {
    let service = Service::start(&[]);
    let append = CommandStatementIngest {
        table: "t".to_string(),
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Fail as i32,
            if_exists: TableExistsOption::Append as i32,
        }),
        ..CommandStatementIngest::default()
    };
    let (set, create, insert) = (
        "SET atoll.write_id = 'day 1'",
        "CREATE TABLE IF NOT EXISTS t AS SELECT 0 AS n WHERE false",
        "INSERT INTO t VALUES (1)",
    );
    for _run in 0..2 {
        // A session of its own, as after a lost connection.
        let mut client = service.client().await;
        query(&mut client, set).await.unwrap();
        query(&mut client, create).await.unwrap();
        query(&mut client, insert).await.unwrap();
        client
            .execute_update(insert.to_string(), None)
            .await
            .unwrap();
        // Values are a part of a statement, and the same ones twice are two.
        let prepared = "INSERT INTO t VALUES ($1)".to_string();
        let mut prepared = client.prepare(prepared, None).await.unwrap();
        let values = create_array!(Int64, [20, 30, 30]) as _;
        prepared.set_parameters(row(vec![("1", values)])).unwrap();
        prepared.execute_update().await.unwrap();
        let rows = row(vec![("n", create_array!(Int64, [7]) as _)]);
        client
            .execute_ingest(append.clone(), futures::stream::iter([Ok(rows)]))
            .await
            .unwrap();
        let sql = "SELECT string_agg(CAST(n AS TEXT), ',' ORDER BY n) FROM t";
        assert_eq!(value(&mut client, sql).await, "1,1,7,20,30,30");
    }
    let mut client = service.client().await;
    let sql = "SELECT statement FROM history('t') WHERE version = 1";
    assert_eq!(value(&mut client, sql).await, insert);
}
