//! `atoll serve`: statements, prepared statements and the catalog over Flight SQL.

mod access;
mod cancel;
mod changes;
mod sessions;

use std::process::Command;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetTables, CommandStatementIngest, SqlInfo,
    TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use datafusion::arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::array::{StringArray, create_array};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::server::Server;
use crate::support::Atoll;

type Client = FlightSqlServiceClient<Channel>;
type Rows = FlightRecordBatchStream;

/// A server with a storage of its own.
struct Service {
    atoll: Atoll,
    server: Server,
    address: String,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |_| {})
    }

    fn start_with(arguments: &[&str], configure: impl FnOnce(&mut Command)) -> Self {
        let atoll = Atoll::new();
        let storage = atoll.path("storage");
        let arguments = [&["serve", "--port", "0"], arguments].concat();
        let server = Server::start(&arguments, |command| {
            command
                .arg("--storage")
                .arg(storage)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .env_remove("ATOLL_TOKEN");
            configure(command);
        });
        server.wait(|said| said.contains("://"));
        let said = server.said();
        let (_, address) = said.split_once("://").unwrap();
        let address = address.split(',').next().unwrap().to_string();
        Self {
            atoll,
            server,
            address,
        }
    }

    /// Opens a connection.
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint.unwrap().connect().await.unwrap()
    }

    /// A client with a connection of its own.
    async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }
}

/// Reads what a `FlightInfo` offers.
async fn fetch(
    client: &mut Client,
    info: FlightInfo,
) -> Result<(SchemaRef, Vec<RecordBatch>), FlightError> {
    let mut rows = client.do_get(ticket(&info)).await?;
    let mut batches = vec![];
    while let Some(batch) = rows.try_next().await? {
        batches.push(batch);
    }
    let schema = rows.schema().cloned();
    Ok((
        schema.unwrap_or_else(|| SchemaRef::new(Schema::empty())),
        batches,
    ))
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

async fn query(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client.execute(sql.to_string(), None).await?;
    Ok(fetch(client, info).await?.1)
}

/// What the server answered instead of rows.
#[track_caller]
fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

#[track_caller]
fn refused(error: FlightError, code: Code, part: &str) {
    let status = status(error);
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(part), "{}", status.message());
}

/// The rows as the prompt would show them, without borders.
fn show(batches: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let lines = table.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.collect::<Vec<_>>().join(",")
    });
    cells.collect()
}

#[track_caller]
fn check(batches: &[RecordBatch], expected: &[&str]) {
    assert_eq!(show(batches), expected);
}

fn row(columns: Vec<(&str, std::sync::Arc<dyn Array>)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[tokio::test]
async fn rows_have_the_columns_that_were_announced() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let copied = service.atoll.path("out.parquet").display().to_string();
    for sql in [
        "SELECT 1 AS n, 'a' AS s, NULL AS nothing",
        "SELECT 1 AS n UNION ALL SELECT 2.5",
        "SELECT arrow_cast('a', 'Utf8View') AS v, [arrow_cast('b', 'BinaryView')] AS l",
        "SELECT {label: arrow_cast('a', 'Dictionary(Int32, Utf8)')} AS s",
        "SELECT image, label FROM 'sql/data/digits.parquet' LIMIT 3",
        "EXPLAIN SELECT 1",
        "SHOW TABLES",
        "SHOW FUNCTIONS LIKE 'train'",
        "DESCRIBE 'sql/data/digits.parquet'",
        &format!("COPY (SELECT 1 AS n) TO '{copied}'"),
        "CREATE VIEW v AS SELECT 1 AS n",
        "SELECT * FROM v WHERE n > 1",
        "SELECT * FROM tune('sql/data/digits.parquet', {architecture: 'mlp', \
         hidden: hp_int(4, 8), optimizer: hp_choice(['sgd', 'adam']), epochs: 1}, \
         {trials: 3, objective: ['validation_error', 'cost']})",
        "SET datafusion.execution.batch_size = 100",
    ] {
        let info = client.execute(sql.to_string(), None).await.unwrap();
        let announced = info.clone().try_decode_schema().unwrap();
        let (schema, batches) = fetch(&mut client, info).await.unwrap();
        let types = |schema: &Schema| -> Vec<_> {
            let fields = schema.fields().iter();
            fields
                .map(|f| (f.name().clone(), f.data_type().clone()))
                .collect()
        };
        assert_eq!(types(&announced), types(&schema), "{sql}");
        let text = format!("{:?}", types(&schema));
        assert!(
            !text.contains("View") && !text.contains("Dictionary"),
            "{sql}: {text}"
        );
        assert!(
            batches.iter().all(|batch| batch.schema() == schema),
            "{sql}"
        );
    }
    check(
        &query(&mut client, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
}

#[tokio::test]
async fn a_ticket_runs_its_statement_once_and_planning_never() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let query = "SELECT train('sql/data/digits.parquet', \
                 {architecture: 'dense(10)', epochs: 1})['status'] AS status";
    let query = query.to_string();
    let table = format!("CREATE TABLE t AS {query}");
    for sql in [&query, &table] {
        client.prepare(sql.clone(), None).await.unwrap();
        let command = arrow_flight::sql::CommandStatementQuery {
            query: sql.clone(),
            transaction_id: None,
        };
        let command = arrow_flight::sql::ProstMessageExt::as_any(&command);
        let command = prost::Message::encode_to_vec(&command);
        let asked = FlightDescriptor::new_cmd(command);
        client.inner_mut().get_schema(asked).await.unwrap();
    }
    let info = client.execute(query.clone(), None).await.unwrap();
    assert!(!service.atoll.path("storage/tables/t").exists());
    assert_eq!(service.atoll.trials(), 0);
    let (_, rows) = fetch(&mut client, info.clone()).await.unwrap();
    check(&rows, &["status", "SUCCEEDED"]);
    assert_eq!(service.atoll.trials(), 1);
    let again = fetch(&mut client, info).await.unwrap_err().to_string();
    assert!(again.contains("a statement runs once"), "{again}");
}

#[tokio::test]
async fn updates_say_how_many_rows_they_changed() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let file = service.atoll.path("out.csv").display().to_string();
    for (sql, count) in [
        ("CREATE TABLE t AS SELECT unnest([1, 2, 3]) AS n", 0),
        ("SET datafusion.execution.batch_size = 100", 0),
        (&format!("COPY t TO '{file}'"), 3),
        ("SELECT 1", -1),
    ] {
        let changed = client.execute_update(sql.to_string(), None).await.unwrap();
        assert_eq!(changed, count, "{sql}");
    }
}

#[tokio::test]
async fn prepared_statements_take_parameters() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let mut check_with = async |sql: &str, rows: RecordBatch, expected: &[&str]| {
        let mut prepared = client.prepare(sql.to_string(), None).await.unwrap();
        let names = prepared.parameter_schema().unwrap().fields().len();
        assert_eq!(names, rows.num_columns(), "{sql}");
        prepared.set_parameters(rows).unwrap();
        // Twice: a prepared statement is there to be run again.
        for _ in 0..2 {
            let info = prepared.execute().await.unwrap();
            let (_, batches) = fetch(&mut client, info).await.unwrap();
            check(&batches, expected);
        }
        prepared.close().await.unwrap();
    };
    let number = create_array!(Int64, [2]) as _;
    let text = create_array!(Utf8, ["it's"]) as _;
    check_with(
        "SELECT ? + 1 AS n, ? AS s, '?' AS q",
        row(vec![("a", number), ("b", text)]),
        &["n,s,q", "3,it's,?"],
    )
    .await;
    let rows = create_array!(Int64, [1, 5]) as _;
    check_with(
        "SELECT count(*) AS n FROM generate_series(1, 10) AS g(x) WHERE x > $1",
        row(vec![("0", rows)]),
        &["n", "9", "5"],
    )
    .await;
    let rate = create_array!(Float64, [0.1]) as _;
    let epochs = create_array!(Int64, [1]) as _;
    check_with(
        "SELECT t.status AS status, t.epochs AS epochs FROM (SELECT train('sql/data/digits.parquet', \
         {architecture: 'dense(10)', learning_rate: ?, epochs: ?}) AS t)",
        row(vec![("0", rate), ("1", epochs)]),
        &["status,epochs", "SUCCEEDED,1"],
    )
    .await;
    assert_eq!(service.atoll.trials(), 1);
}

#[tokio::test]
async fn parameters_must_fit_the_statement() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let mut prepared = client
        .prepare("SELECT ? + ?".to_string(), None)
        .await
        .unwrap();
    let unbound = prepared.execute().await.unwrap_err().to_string();
    assert!(unbound.contains("no values are bound"), "{unbound}");
    let one = create_array!(Int64, [1]) as _;
    prepared.set_parameters(row(vec![("a", one)])).unwrap();
    let short = prepared.execute().await.unwrap_err().to_string();
    assert!(short.contains("has 2 parameters, got 1"), "{short}");
    let file = service.atoll.path("n.csv").display().to_string();
    let sql = format!("COPY (SELECT $1 AS n) TO '{file}'");
    let mut prepared = client.prepare(sql, None).await.unwrap();
    assert!(prepared.dataset_schema().unwrap().fields().is_empty());
    let three = create_array!(Int64, [1, 2, 3]) as _;
    prepared.set_parameters(row(vec![("n", three)])).unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 3);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "n\n3\n");
}

#[tokio::test]
async fn the_catalog_can_be_browsed() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    query(&mut client, "CREATE TABLE t AS SELECT 1 AS n, 'a' AS s")
        .await
        .unwrap();
    query(&mut client, "CREATE VIEW v AS SELECT 2.5 AS x")
        .await
        .unwrap();
    let info = client.get_catalogs().await.unwrap();
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    check(&rows, &["catalog_name", "datafusion"]);
    let info = client
        .get_db_schemas(CommandGetDbSchemas::default())
        .await
        .unwrap();
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    let schemas = show(&rows);
    assert!(
        schemas.contains(&"datafusion,public".to_string()),
        "{schemas:?}"
    );
    let mut wanted = CommandGetTables {
        db_schema_filter_pattern: Some("public".to_string()),
        ..CommandGetTables::default()
    };
    let info = client.get_tables(wanted.clone()).await.unwrap();
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    let header = "catalog_name,db_schema_name,table_name,table_type";
    check(
        &rows,
        &[
            header,
            "datafusion,public,t,TABLE",
            "datafusion,public,v,VIEW",
        ],
    );
    wanted.table_types = vec!["VIEW".to_string()];
    wanted.include_schema = true;
    let info = client.get_tables(wanted).await.unwrap();
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    assert_eq!(rows[0].num_rows(), 1);
    let schema = rows[0].column(4).as_binary::<i32>().value(0);
    let message = arrow_flight::IpcMessage(schema.to_vec().into());
    let schema = Schema::try_from(message).unwrap();
    assert_eq!(schema.field(0).name(), "x");
    for info in [
        client.get_table_types().await.unwrap(),
        client.get_xdbc_type_info(Default::default()).await.unwrap(),
        client
            .get_sql_info(vec![SqlInfo::FlightSqlServerName])
            .await
            .unwrap(),
    ] {
        let (_, rows) = fetch(&mut client, info).await.unwrap();
        assert!(rows[0].num_rows() > 0);
    }
    let info = client.get_primary_keys(Default::default()).await.unwrap();
    let (_, rows) = fetch(&mut client, info).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn uploaded_rows_become_a_table_that_stays() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let upload = async |client: &mut Client, if_exists, values: Vec<f64>| {
        let numbers = std::sync::Arc::new(Int64Array::from_iter_values(1..=2)) as _;
        let values = std::sync::Arc::new(Float64Array::from(values)) as _;
        let text = std::sync::Arc::new(StringArray::from(vec!["a", "b"])) as _;
        let batch = row(vec![("n", numbers), ("x", values), ("s", text)]);
        let command = CommandStatementIngest {
            table: "uploaded".to_string(),
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: TableNotExistOption::Create as i32,
                if_exists,
            }),
            ..CommandStatementIngest::default()
        };
        let rows = futures::stream::iter([Ok(batch)]);
        client.execute_ingest(command, rows).await
    };
    let fail = TableExistsOption::Fail as i32;
    let count = upload(&mut client, fail, vec![0.5, 1.5]).await.unwrap();
    assert_eq!(count, 2);
    let again = upload(&mut client, fail, vec![0.5, 1.5]).await.unwrap_err();
    assert!(again.to_string().contains("exists already"), "{again}");
    let append = TableExistsOption::Append as i32;
    upload(&mut client, append, vec![0.5, 1.5]).await.unwrap();
    let rows = query(&mut client, "SELECT sum(n) AS n, sum(x) AS x FROM uploaded")
        .await
        .unwrap();
    check(&rows, &["n,x", "6,4.0"]);
    let replace = TableExistsOption::Replace as i32;
    upload(&mut client, replace, vec![2.5, 3.5]).await.unwrap();
    let mut other = service.client().await;
    let rows = query(&mut other, "SELECT * FROM uploaded ORDER BY n")
        .await
        .unwrap();
    check(&rows, &["n,x,s", "1,2.5,a", "2,3.5,b"]);
}
