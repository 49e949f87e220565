//! Clients do not see each other's settings and views, and there is room for many.

use tonic::Code;

use super::{Service, check, query, refused};

#[tokio::test]
async fn settings_and_views_are_a_clients_own() {
    let service = Service::start(&[]);
    let (mut one, mut two) = (service.client().await, service.client().await);
    let setting = "SHOW datafusion.execution.batch_size";
    let before = query(&mut two, setting).await.unwrap();
    query(&mut one, "SET datafusion.execution.batch_size = 77")
        .await
        .unwrap();
    query(&mut one, "CREATE VIEW v AS SELECT 1 AS n")
        .await
        .unwrap();
    check(
        &query(&mut one, setting).await.unwrap(),
        &["name,value", "datafusion.execution.batch_size,77"],
    );
    assert_eq!(query(&mut two, setting).await.unwrap(), before);
    let error = query(&mut two, "SELECT * FROM v").await.unwrap_err();
    refused(error, Code::InvalidArgument, "no table named v");
    query(&mut two, "CREATE VIEW v AS SELECT 2 AS n")
        .await
        .unwrap();
    check(
        &query(&mut one, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
    // Tables are stored, and so everybody's.
    query(&mut one, "CREATE TABLE t AS SELECT 3 AS n")
        .await
        .unwrap();
    check(
        &query(&mut two, "SELECT * FROM t").await.unwrap(),
        &["n", "3"],
    );
}

#[tokio::test]
async fn a_cookie_carries_a_session_to_another_connection() {
    let service = Service::start(&[]);
    let mut one = service.client().await;
    query(&mut one, "CREATE VIEW v AS SELECT 1 AS n")
        .await
        .unwrap();
    let info = one.execute("SELECT 1".to_string(), None).await.unwrap();
    let rows = one.do_get(super::ticket(&info)).await.unwrap();
    let cookie = rows.headers().get("set-cookie").unwrap().to_str().unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let mut two = service.client().await;
    two.set_header("cookie", cookie);
    check(
        &query(&mut two, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
    drop(one);
    check(
        &query(&mut two, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
    two.set_header("cookie", "atoll_session=atoll-session-0");
    let error = query(&mut two, "SELECT 1").await.unwrap_err();
    refused(error, Code::Unauthenticated, "connect again");
}

#[tokio::test]
async fn sessions_are_limited_and_make_room() {
    let service = Service::start(&["--max-sessions", "2"]);
    let (mut one, mut two) = (service.client().await, service.client().await);
    query(&mut one, "SELECT 1").await.unwrap();
    query(&mut two, "SELECT 1").await.unwrap();
    let mut three = service.client().await;
    let error = query(&mut three, "SELECT 1").await.unwrap_err();
    refused(
        error,
        Code::ResourceExhausted,
        "2 sessions are open already",
    );
    drop(one);
    let since = std::time::Instant::now();
    while query(&mut three, "SELECT 1").await.is_err() {
        assert!(since.elapsed().as_secs() < 10, "no room came free");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    query(&mut two, "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn thirty_two_clients_at_once_get_their_own_rows() {
    let service = Service::start(&[]);
    let clients = (0..32).map(|n| {
        let channel = service.channel();
        async move {
            let mut client = super::Client::new(channel.await);
            let view = format!("CREATE VIEW v AS SELECT {n} AS n");
            query(&mut client, &view).await.unwrap();
            for _ in 0..3 {
                let sql = "SELECT n, count(*) AS c, sum(x) AS s FROM v, \
                           generate_series(1, 20000) AS g(x) GROUP BY n";
                let rows = query(&mut client, sql).await.unwrap();
                check(&rows, &["n,c,s", &format!("{n},20000,200010000")]);
            }
        }
    });
    futures::future::join_all(clients).await;
}

/// Clients have no standard error; the server's log has what their statements warn of.
#[tokio::test]
async fn warnings_go_to_the_log() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    let sql = "SELECT t['status'] AS status FROM (SELECT train( \
        'sql/data/digits.parquet', {learning_rate: rate, epochs: 1}) AS t \
        FROM (VALUES (-1.0)) AS space(rate))";
    check(
        &query(&mut client, sql).await.unwrap(),
        &["status", "INFEASIBLE"],
    );
    let warning =
        "warning: the only trial did not succeed: INFEASIBLE: learning_rate must";
    service.server.wait(|said| said.contains(warning));
    assert_eq!(service.server.said().matches("warning:").count(), 1);
}
