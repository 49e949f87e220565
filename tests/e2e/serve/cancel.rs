//! Statements stop when their client says so or goes away, and with the server.

use std::time::{Duration, Instant};

use arrow_flight::sql::{ActionCancelQueryRequest, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightInfo};
use futures::TryStreamExt;
use tonic::Code;

use super::{Client, Service, check, query, refused, ticket};
use crate::support::wait_until;

/// Trains far longer than any test may take.
const FOREVER: &str = "SELECT train('sql/data/digits.parquet', {architecture: 'lenet', \
    learning_rate: 0.01, epochs: 100000, patience: 0}) AS t";

impl Service {
    /// How long the server's threads have computed.
    fn cpu_time(&self) -> Duration {
        let file = format!("/proc/{}/stat", self.server.child.id());
        let stat = std::fs::read_to_string(file).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // utime and stime, in ticks of 10 ms.
        let ticks = [11, 12].map(|at| fields[at].parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.iter().sum::<u64>())
    }

    fn computes(&self) -> bool {
        let before = self.cpu_time();
        std::thread::sleep(Duration::from_millis(300));
        self.cpu_time() - before > Duration::from_millis(60)
    }

    /// Starts a training and waits until it runs.
    async fn training(&self, client: &mut Client) -> (FlightInfo, super::Rows) {
        let info = client.execute(FOREVER.to_string(), None).await.unwrap();
        let rows = client.do_get(ticket(&info)).await.unwrap();
        wait_until("a training", || {
            self.atoll.path("storage/snapshots").exists() && self.computes()
        });
        (info, rows)
    }

    #[track_caller]
    fn stops_computing(&self) {
        let since = Instant::now();
        while self.computes() {
            assert!(since.elapsed() < Duration::from_secs(5), "it goes on");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_its_training() {
    let service = Service::start(&["--max-statements", "1"]);
    let mut client = service.client().await;
    let (_, rows) = service.training(&mut client).await;
    let mut other = service.client().await;
    let error = query(&mut other, "SELECT 1 AS n").await.unwrap_err();
    refused(error, Code::ResourceExhausted, "1 statements run already");
    drop((rows, client));
    service.stops_computing();
    check(
        &query(&mut other, "SELECT 1 AS n").await.unwrap(),
        &["n", "1"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_is_cancelled_by_its_ticket() {
    let service = Service::start(&["--max-statements", "1"]);
    let mut client = service.client().await;
    let (info, mut rows) = service.training(&mut client).await;
    let request = CancelFlightInfoRequest {
        info: Some(info.clone()),
    };
    let action = Action::new("CancelFlightInfo", prost::Message::encode_to_vec(&request));
    let answer = client.do_action(action.clone()).await.unwrap();
    let answer: Vec<_> = answer.try_collect().await.unwrap();
    // CANCEL_STATUS_CANCELLED
    assert_eq!(answer[0].body.as_ref(), [8, 1]);
    let error = rows.try_next().await.unwrap_err();
    refused(error, Code::Cancelled, "the statement was cancelled");
    service.stops_computing();
    check(
        &query(&mut client, "SELECT 1 AS n").await.unwrap(),
        &["n", "1"],
    );
    let again = client.do_action(action).await.unwrap_err();
    refused(again, Code::NotFound, "no such statement");
}

#[tokio::test]
async fn a_statement_that_waits_is_cancelled_too() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let info = client.execute(FOREVER.to_string(), None).await.unwrap();
    let request = ActionCancelQueryRequest {
        info: prost::Message::encode_to_vec(&info).into(),
    };
    let body = prost::Message::encode_to_vec(&request.as_any());
    client
        .do_action(Action::new("CancelQuery", body))
        .await
        .unwrap();
    let error = client.do_get(ticket(&info)).await.err().unwrap();
    refused(error, Code::NotFound, "a statement runs once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_lets_statements_end_unless_told_twice() {
    let mut service = Service::start(&[]);
    let mut client = service.client().await;
    let (_, mut rows) = service.training(&mut client).await;
    let signal = |service: &Service| {
        let id = service.server.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", "TERM", &id])
            .status();
        assert!(sent.unwrap().success());
    };
    signal(&service);
    service
        .server
        .wait(|said| said.contains("finishing running statements"));
    assert!(service.computes());
    signal(&service);
    assert!(rows.try_next().await.is_err());
    wait_until("its end", || {
        service.server.child.try_wait().unwrap().is_some()
    });
    assert!(service.server.said().ends_with("server stopped\n"));
    let ended = service.server.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", service.server.said());
}
