//! Who is let in: tokens, passwords, TLS; and what a refused client reads.

use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::{Client, Service, check, query, refused};
use crate::support::Atoll;

const TOKEN: &str = "0123456789abcdef";

fn with_token() -> Service {
    Service::start_with(&[], |command| {
        command.env("ATOLL_TOKEN", TOKEN);
    })
}

#[tokio::test]
async fn a_token_is_needed_where_there_is_one() {
    let service = with_token();
    let mut client = service.client().await;
    let needs = "this server needs its token";
    let error = query(&mut client, "SELECT 1 AS n").await.unwrap_err();
    refused(error, Code::Unauthenticated, needs);
    client.set_token("0123456789abcdee".to_string());
    let error = query(&mut client, "SELECT 1 AS n").await.unwrap_err();
    let wrong = "the token given is not that of this server";
    refused(error, Code::Unauthenticated, wrong);
    let error = client.handshake("ann", "wrong").await.unwrap_err();
    assert!(error.to_string().contains(wrong), "{error}");
    client.set_token(TOKEN.to_string());
    check(
        &query(&mut client, "SELECT 1 AS n").await.unwrap(),
        &["n", "1"],
    );
}

#[tokio::test]
async fn the_token_is_any_users_password() {
    let service = with_token();
    let mut client = service.client().await;
    client.handshake("ann", TOKEN).await.unwrap();
    // From here on the client shows the id of its session.
    assert_ne!(client.token().unwrap(), TOKEN);
    query(&mut client, "CREATE VIEW v AS SELECT 1 AS n")
        .await
        .unwrap();
    let mut elsewhere = service.client().await;
    elsewhere.set_token(client.token().unwrap().clone());
    check(
        &query(&mut elsewhere, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
    elsewhere.set_token("atoll-session-0".to_string());
    let error = query(&mut elsewhere, "SELECT * FROM v").await.unwrap_err();
    refused(error, Code::Unauthenticated, "this session has ended");
}

#[test]
fn other_machines_need_a_token() {
    let atoll = Atoll::new();
    let mut command = atoll.command(&["serve", "--port", "0", "--bind", "0.0.0.0"]);
    let child = command.env_remove("ATOLL_TOKEN").spawn().unwrap();
    let output = crate::support::Running::new(child).finish();
    output.fails_naming(&["listening on 0.0.0.0 lets others run statements", "hint: "]);
}

#[tokio::test]
async fn connections_are_encrypted_with_a_certificate() {
    let home = Atoll::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let certificate = home.file("cert.pem", &made.cert.pem());
    let key = home.file("key.pem", &made.signing_key.serialize_pem());
    let arguments = ["--tls-cert", &certificate, "--tls-key", &key];
    let service = Service::start(&arguments);
    assert!(service.server.said().contains("grpc+tls://127.0.0.1:"));
    let port = service.address.rsplit(':').next().unwrap();
    // As the program does, of which the other end is not a part.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = Certificate::from_pem(made.cert.pem());
    let tls = ClientTlsConfig::new().ca_certificate(trusted);
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}")).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    let mut client = Client::new(channel);
    query(&mut client, "CREATE VIEW v AS SELECT 1 AS n")
        .await
        .unwrap();
    check(
        &query(&mut client, "SELECT * FROM v").await.unwrap(),
        &["n", "1"],
    );
    let plain = Endpoint::from_shared(format!("http://{}", service.address)).unwrap();
    let mut plain = Client::new(plain.connect_lazy());
    assert!(query(&mut plain, "SELECT 1").await.is_err());
}

#[test]
fn a_certificate_that_is_none_is_refused() {
    let atoll = Atoll::new();
    let file = atoll.file("cert.pem", "no certificate");
    let output = atoll.run(&[
        "serve",
        "--port",
        "0",
        "--tls-cert",
        &file,
        "--tls-key",
        &file,
    ]);
    output.fails_naming(&["the certificate or its key cannot be used", "hint: "]);
    let output = atoll.run(&["serve", "--port", "0", "--tls-cert", &file]);
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
}

#[tokio::test]
async fn errors_have_codes_and_one_sentence() {
    let service = Service::start(&[]);
    let mut client = service.client().await;
    for (sql, code, part) in [
        ("SELEC 1", Code::InvalidArgument, "syntax error"),
        ("SELECT nope", Code::InvalidArgument, "no column named nope"),
        (
            "SELECT * FROM nope",
            Code::InvalidArgument,
            "no table named nope",
        ),
        (
            "SELECT trian('a', {})",
            Code::InvalidArgument,
            "no function named trian",
        ),
        ("BEGIN", Code::Unimplemented, "not supported"),
        ("DROP TABLE nope", Code::FailedPrecondition, "nope"),
        ("SELECT image_info(X'00')", Code::FailedPrecondition, ""),
        ("SELECT 1; SELECT 2", Code::Unimplemented, ""),
    ] {
        let error = query(&mut client, sql).await.unwrap_err();
        let status = super::status(error);
        let text = status.message();
        assert_eq!(status.code(), code, "{sql}: {text}");
        assert!(text.contains(part), "{sql}: {text}");
        for noise in [
            "panicked",
            "Error during planning",
            "External error",
            "backtrace",
        ] {
            assert!(!text.contains(noise), "{sql}: {text}");
        }
    }
}
