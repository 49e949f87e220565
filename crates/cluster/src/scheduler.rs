//! The scheduler: Ballista's, with a board of jobs, a status page and a token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::create_scheduler;
use datafusion::prelude::SessionConfig;
use tokio::net::TcpListener;

use crate::app::App;
use crate::board::Board;
use crate::policy::FairShares;
use crate::protocol::{
    Attempt, EXECUTORS, GONE, Hello, JOBS, JobState, NewJob, REPORT, REPORT_RUN, RUNS,
    Report, RowsId, SLOTS, STALLED, START, START_ROWS, STATUS, STATUS_JSON, Slots,
    TAKE_RUN, TaskId, VERSION, Wanted,
};
use crate::runs::{NewRun, RunReport, RunState, Runs, TakenRun};
use crate::status::{Status, page};
use crate::task::TaskCodec;
use crate::{Error, Token};

/// The largest message: a job with its rows.
pub(crate) const MESSAGE_BYTES: u32 = 256 << 20;

/// An executor that says nothing for so long is lost.
pub(crate) const EXECUTOR_SILENCE_SECONDS: u64 = 10;

/// How often lost executors and clients are looked for.
pub(crate) const ROUND: Duration = Duration::from_secs(1);

/// How long Ballista remembers a job that ended and of which no client has said that it
/// is done, such as one that was submitted again.
const ENDED_KEPT_SECONDS: u64 = 60;

/// What a scheduler is started with.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// The name by which executors reach this machine, if not by `bind`.
    pub advertise: Option<String>,
    /// The cluster's secret. Needed to listen on anything but the loopback.
    pub token: Token,
}

/// A scheduler that listens, but does not answer yet.
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
    options: SchedulerOptions,
}

/// The options of Ballista's sessions, the same for all processes.
pub(crate) fn session_config() -> SessionConfig {
    SessionConfig::new_with_ballista()
        // The adaptive planner loses tasks with an executor.
        .set_bool("ballista.planner.adaptive.enabled", false)
        .set_usize("ballista.scheduler.max_partitions_per_task", 1)
        .set_usize(
            "ballista.client.grpc_max_message_size",
            MESSAGE_BYTES as usize,
        )
}

impl Scheduler {
    /// Listens.
    pub async fn bind(options: SchedulerOptions) -> Result<Self, Error> {
        if !options.bind.is_loopback() && !options.token.is_set() {
            return Err(Error::Start(format!(
                "listening on {} lets others run statements; set ATOLL_TOKEN or \
                 --token-file to a secret of the cluster first",
                options.bind
            )));
        }
        let wanted = SocketAddr::new(options.bind, options.port);
        let failed = |error: std::io::Error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::AddrInUse => "; choose another --port",
                _ => "; choose another --bind",
            };
            Error::Start(format!("cannot listen on {wanted}: {error}{remedy}"))
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` resolves.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let board = Arc::new(Board::default());
        let config = Arc::new(config(&self.options, self.address, Arc::clone(&board)));
        let failed = |error: &dyn std::fmt::Display| {
            Error::Start(format!("the scheduler cannot start: {error}"))
        };
        let cluster = BallistaCluster::new_from_config(&config)
            .await
            .map_err(|error| failed(&error))?;
        let jobs = cluster.job_state();
        let server = create_scheduler(cluster, config)
            .await
            .map_err(|error| failed(&error))?;
        let app = Arc::new(App {
            server,
            jobs,
            board,
            runs: Runs::default(),
            token: self.options.token,
            since: SystemTime::now(),
        });
        let watch = tokio::spawn(Arc::clone(&app).watch());
        let service = routes(&app).into_make_service_with_connect_info::<SocketAddr>();
        // Executors keep their connections, so waiting for them would last for ever.
        let ended = tokio::select! {
            ended = axum::serve(self.listener, service) => {
                ended.map_err(|error| failed(&error))
            }
            () = stop => Ok(()),
        };
        watch.abort();
        ended
    }
}

fn config(
    options: &SchedulerOptions,
    address: SocketAddr,
    board: Arc<Board>,
) -> SchedulerConfig {
    let agent = options.token.user_agent();
    let host = match &options.advertise {
        Some(name) => name.clone(),
        None if options.bind.is_unspecified() => "localhost".to_string(),
        None => options.bind.to_string(),
    };
    SchedulerConfig {
        bind_host: options.bind.to_string(),
        bind_port: address.port(),
        external_host: host,
        task_distribution: TaskDistributionPolicy::Custom(Arc::new(FairShares::new(
            board,
        ))),
        // Results are removed when their client has them or goes away, see `App::forget`.
        finished_job_data_clean_up_interval_seconds: 0,
        // A job that ended holds its plan, and so all rows that came with it.
        finished_job_state_clean_up_interval_seconds: ENDED_KEPT_SECONDS,
        // An executor that stops has finished its tasks already.
        executor_termination_grace_period: 0,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        grpc_client_max_message_size: MESSAGE_BYTES,
        executor_timeout_seconds: EXECUTOR_SILENCE_SECONDS,
        expire_dead_executor_interval_seconds: ROUND.as_secs(),
        no_executors_grace_period_seconds: 60,
        override_config_producer: Some(Arc::new(session_config)),
        override_physical_codec: Some(Arc::new(TaskCodec::default())),
        override_create_grpc_client_endpoint: Some(Arc::new(move |endpoint| {
            Ok(endpoint.user_agent(agent.clone())?)
        })),
        ..SchedulerConfig::default()
    }
}

fn routes(app: &Arc<App>) -> Router {
    let grpc = SchedulerGrpcServer::new(app.server.clone())
        .max_encoding_message_size(MESSAGE_BYTES as usize)
        .max_decoding_message_size(MESSAGE_BYTES as usize);
    let mut services = tonic::service::RoutesBuilder::default();
    services.add_service(grpc);
    Router::new()
        .route("/", get(status_page))
        .route(STATUS, get(status_page))
        .route(STATUS_JSON, get(status_json))
        .route(VERSION, get(version))
        .route(SLOTS, get(slots))
        .route(&format!("{EXECUTORS}/{{id}}"), get(is_known))
        .route(JOBS, post(announce))
        .route(&format!("{JOBS}/{{key}}"), delete(give_up))
        .route(&format!("{JOBS}/{{key}}/{{submission}}"), get(ask))
        .route(&format!("{JOBS}/{{key}}/done"), post(done))
        .route(STALLED, post(stalled))
        .route(START, post(start))
        .route(START_ROWS, post(start_rows))
        .route(REPORT, post(report))
        .route(GONE, post(gone))
        .route(RUNS, get(list_runs).post(order_run))
        .route(&format!("{RUNS}/{{id}}"), get(show_run).delete(cancel_run))
        .route(TAKE_RUN, post(take_run))
        .route(REPORT_RUN, post(report_run))
        .with_state(Arc::clone(app))
        .merge(services.routes().into_axum_router())
        .layer(middleware::from_fn_with_state(Arc::clone(app), admit))
}

/// Lets only holders of the token in.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.token.is_set() || is_admitted(&app.token, request.headers()) {
        return next.run(request).await;
    }
    let mut refusal = Response::new(Body::from("a token is needed\n"));
    *refusal.status_mut() = StatusCode::UNAUTHORIZED;
    // A browser then asks; the name does not matter, the password is the token.
    refusal.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"atoll: the token is the password\""),
    );
    refusal
}

fn is_admitted(token: &Token, headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header(header::USER_AGENT).is_some_and(|agent| token.admits_agent(agent)) {
        return true;
    }
    let Some(given) = header(header::AUTHORIZATION) else {
        return false;
    };
    match given.split_once(' ') {
        Some(("Bearer", given)) => token.is(given),
        Some(("Basic", given)) => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(given);
            let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.is_some_and(|text| {
                text.split_once(':')
                    .is_some_and(|(_, password)| token.is(password))
            })
        }
        _ => false,
    }
}

type Answer<T> = Result<Json<T>, StatusCode>;

async fn version() -> Json<Hello> {
    Json(Hello {
        name: "atoll".to_string(),
        version: atoll_session::VERSION.to_string(),
    })
}

async fn announce(State(app): State<Arc<App>>, Json(new): Json<NewJob>) -> Json<()> {
    app.board.announce(new);
    Json(())
}

async fn ask(
    State(app): State<Arc<App>>,
    Path((key, submission)): Path<(String, String)>,
) -> Answer<JobState> {
    let state = app.board.ask(&key, submission);
    let state = state.ok_or(StatusCode::NOT_FOUND)?;
    let Slots { all, free } = app.slots().await;
    Ok(Json(JobState {
        slots: all,
        free,
        ..state
    }))
}

async fn slots(State(app): State<Arc<App>>) -> Json<Slots> {
    Json(app.slots().await)
}

async fn is_known(State(app): State<Arc<App>>, Path(id): Path<String>) -> Json<bool> {
    Json(app.knows(&id).await)
}

async fn give_up(State(app): State<Arc<App>>, Path(key): Path<String>) -> Json<()> {
    app.cancel(&key, "cancelled").await;
    Json(())
}

async fn done(State(app): State<Arc<App>>, Path(key): Path<String>) -> Json<()> {
    app.cancel(&key, "done").await;
    Json(())
}

async fn start(State(app): State<Arc<App>>, Json(id): Json<TaskId>) -> Answer<Attempt> {
    let attempt = app.board.start(&id);
    attempt.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn start_rows(
    State(app): State<Arc<App>>,
    Json(id): Json<RowsId>,
) -> Answer<Attempt> {
    let attempt = app.board.start_rows(&id);
    attempt.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn report(State(app): State<Arc<App>>, Json(report): Json<Report>) -> Json<Wanted> {
    Json(app.board.report(report))
}

async fn gone(State(app): State<Arc<App>>, Json(executor): Json<String>) -> Json<()> {
    app.board.lose(&executor);
    app.remove(executor, "its process ended").await;
    Json(())
}

/// Ballista never gives back the slot of a task that it took away from a stage whose
/// input was lost. An executor that runs nothing is forgotten here and comes back, all
/// of its slots free, with its next heartbeat.
async fn stalled(State(app): State<Arc<App>>) -> Json<()> {
    let executors = app.executors().await;
    for idle in executors.into_iter().filter(|one| one.running == 0) {
        tracing::warn!("executor {} is registered anew: a job stalled", idle.id);
        app.remove(idle.id, "a job stalled while it was idle").await;
    }
    Json(())
}

async fn order_run(State(app): State<Arc<App>>, Json(new): Json<NewRun>) -> Json<()> {
    app.runs.order(new);
    Json(())
}

async fn list_runs(State(app): State<Arc<App>>) -> Json<Vec<RunState>> {
    Json(app.runs.all())
}

async fn show_run(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<RunState> {
    app.runs.one(&id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn cancel_run(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<()> {
    let is_known = app.runs.cancel(&id);
    is_known.then_some(Json(())).ok_or(StatusCode::NOT_FOUND)
}

async fn take_run(
    State(app): State<Arc<App>>,
    Json(executor): Json<String>,
) -> Json<Option<TakenRun>> {
    Json(app.runs.take(executor))
}

async fn report_run(
    State(app): State<Arc<App>>,
    Json(report): Json<RunReport>,
) -> Answer<bool> {
    let goes_on = app.runs.report(report);
    goes_on.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn status_json(State(app): State<Arc<App>>) -> Json<Status> {
    Json(app.status().await)
}

async fn status_page(State(app): State<Arc<App>>) -> impl IntoResponse {
    Html(page(&app.status().await))
}
