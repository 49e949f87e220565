//! An S3 server on the loopback, which ends with the test that started it.
//!
//! `s3s-fs` answers as S3 does (signatures, multipart uploads, conditional writes) over
//! a folder, in this process: nothing to install, and requests can be made to fail.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::IF_NONE_MATCH;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

pub(crate) const BUCKET: &str = "bucket";
const KEY: &str = "a key of the tests";
pub(crate) const SECRET: &str = "the secret of the tests";

pub(crate) struct S3 {
    address: SocketAddr,
    /// What the buckets hold, as files.
    pub(crate) folder: TempDir,
    requests: Arc<AtomicUsize>,
    trap: Arc<std::sync::Mutex<Option<Trap>>>,
    _runtime: Runtime,
}

/// Whether a request is meant, by its method and path.
pub(crate) type IsBait = Box<dyn Fn(&str, &str) -> bool + Send>;

/// Something that happens at a request.
pub(crate) struct Trap {
    /// Whether a request is one of those that count.
    pub(crate) is_bait: IsBait,
    /// How many of them pass before.
    pub(crate) skip: usize,
    /// Whether the request is answered first.
    pub(crate) is_after: bool,
    pub(crate) spring: Box<dyn FnOnce() + Send>,
}

impl Trap {
    /// Takes the trap if this request is the one.
    fn sprung(
        trap: &std::sync::Mutex<Option<Self>>,
        method: &str,
        path: &str,
    ) -> Option<Self> {
        let mut trap = trap.lock().unwrap();
        let set = trap.as_mut().filter(|set| (set.is_bait)(method, path))?;
        if set.skip > 0 {
            set.skip -= 1;
            return None;
        }
        trap.take()
    }
}

impl S3 {
    /// Starts a server with one bucket; each `failing`th request, if that is not 0, is
    /// refused as an overloaded S3 does.
    pub(crate) fn start(failing: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let files = s3s_fs::FileSystem::new(folder.path()).unwrap();
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        // `s3s-fs` looks whether a file is there and then writes it; S3 does both at once.
        let one_by_one = Arc::new(Mutex::new(()));
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let trap = Arc::new(std::sync::Mutex::new(None));
        let traps = Arc::clone(&trap);
        let serve = move |request: Request| {
            let service = service.clone();
            let one_by_one = Arc::clone(&one_by_one);
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            let (method, path) = (request.method().as_str(), request.uri().path());
            let mut sprung = Trap::sprung(&traps, method, path);
            async move {
                if let Some(trap) = sprung.take_if(|trap| !trap.is_after) {
                    (trap.spring)();
                }
                if failing > 0 && number.is_multiple_of(failing) {
                    return (axum::http::StatusCode::SERVICE_UNAVAILABLE, "SlowDown")
                        .into_response();
                }
                let _turn = match request.headers().contains_key(IF_NONE_MATCH) {
                    true => Some(one_by_one.lock().await),
                    false => None,
                };
                let bucket = request.uri().path().split('/').nth(1);
                let answer = match bucket {
                    Some(BUCKET) => answer(&service, request).await,
                    bucket => no_bucket(bucket.unwrap_or_default()),
                };
                if let Some(trap) = sprung {
                    (trap.spring)();
                }
                answer
            }
        };
        let runtime = Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let routes = axum::Router::new().fallback(any(serve));
        runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            address,
            folder,
            requests,
            trap,
            _runtime: runtime,
        }
    }

    /// Gives a process the credentials, and the address as users of MinIO give it.
    pub(crate) fn open_to(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false");
    }

    /// Waits for a request.
    pub(crate) fn set(&self, trap: Trap) {
        *self.trap.lock().unwrap() = Some(trap);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// S3's answer, where `s3s-fs` would make a folder.
fn no_bucket(name: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchBucket</Code>\
         <Message>The specified bucket does not exist</Message>\
         <BucketName>{name}</BucketName></Error>"
    );
    (axum::http::StatusCode::NOT_FOUND, body).into_response()
}

async fn answer(service: &S3Service, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let request = Request::from_parts(head, s3s::Body::from(body));
    match service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => panic!("the S3 server failed: {error:?}"),
    }
}
