//! The statements of all clients, from planning to the last row.
//!
//! A statement is planned when a client asks for its columns and waits under a handle until
//! the client reads its rows. While it runs it holds one of a limited number of slots, and
//! any request may cancel it by its handle.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use atoll_session::{Erased, changes_something};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use uuid::Uuid;

use crate::output::plain_schema;
use crate::prepared::Planned;
use crate::sessions::{Busy, ClientSession};
use crate::{Explain, Limits, output, status, update};

/// Messages of at most 2 MiB that may wait for the client, so that neither waits for
/// the other and memory stays small.
const MESSAGES_AHEAD: usize = 2;

/// How long a planned statement waits to be run.
const KEPT: Duration = Duration::from_secs(600);

/// How many statements a session may plan without running them.
const PLANNED: usize = 256;

/// All statements, by their handles.
pub(crate) struct Statements {
    work: Handle,
    explain: Explain,
    slots: Arc<Semaphore>,
    limits: Limits,
    is_stopping: AtomicBool,
    planned: Mutex<HashMap<String, Waiting>>,
    running: Mutex<HashMap<String, (String, CancellationToken)>>,
}

/// A statement whose rows wait to be asked for.
struct Waiting {
    client: Arc<ClientSession>,
    work: StatementWork,
    /// The columns that were announced.
    schema: SchemaRef,
    since: Instant,
}

/// What is left to do when a client asks for the rows of a statement.
enum StatementWork {
    /// Run these plans: one for each row of parameters, so mostly one.
    Run(Erased<Vec<Planned>>),
    /// Send the rows that it left. It changed something, and ran when it was asked for.
    Give(Vec<RecordBatch>),
}

impl StatementWork {
    fn run(plans: Vec<Planned>) -> Self {
        Self::Run(Erased::new(plans))
    }
}

/// What became of a cancelled statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cancelled {
    /// It will do nothing more.
    Yes,
    /// It has ended, or there never was such a statement.
    Unknown,
}

impl Statements {
    pub(crate) fn new(work: Handle, limits: Limits, explain: Explain) -> Self {
        Self {
            work,
            explain,
            slots: Arc::new(Semaphore::new(limits.statements)),
            limits,
            is_stopping: AtomicBool::new(false),
            planned: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Runs a future on the runtime where statements run. Dropping the returned future aborts
    /// it.
    pub(crate) async fn on_work<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, DataFusionError>> + Send + 'static,
    ) -> Result<T, Status> {
        match AbortOnDropHandle::new(self.work.spawn(future)).await {
            Ok(result) => result.map_err(|error| status::of(error, self.explain)),
            Err(error) => Err(given_up(&error)),
        }
    }

    /// Plans to give a client the rows of a statement, and returns the statement's handle and
    /// its columns.
    ///
    /// A statement that is there for what it does runs now and to its end. Clients that
    /// ask for no rows, because they know that it has none, rely on that, and one that
    /// closes the result before it has read it must not undo half of it.
    pub(crate) async fn offer(
        self: &Arc<Self>,
        client: &Arc<ClientSession>,
        plans: Vec<Planned>,
        schema: SchemaRef,
    ) -> Result<(String, SchemaRef), Status> {
        let changes = |planned: &Planned| changes_something(&planned.plan);
        if !plans.iter().any(changes) {
            let handle =
                self.keep(client, StatementWork::run(plans), Arc::clone(&schema));
            return Ok((handle, schema));
        }
        let runner = Arc::clone(client);
        let offered = self.finish(client, async move {
            let mut resolved = vec![];
            for Planned { plan, text } in plans {
                let plan = runner.session.resolve(plan).await?;
                resolved.push(Planned { plan, text });
            }
            // EXECUTE shows only now what it runs.
            let schema = match resolved.first() {
                Some(first) => {
                    let schema: SchemaRef = runner.session.result_schema(&first.plan)?;
                    plain_schema(&schema)
                }
                None => schema,
            };
            let work = if resolved.iter().any(changes) {
                let rows = output::all_rows(&runner, resolved, &schema);
                StatementWork::Give(rows.await?)
            } else {
                StatementWork::run(resolved)
            };
            Ok((work, schema))
        });
        let (work, schema) = offered.await?;
        let handle = self.keep(client, work, Arc::clone(&schema));
        Ok((handle, schema))
    }

    /// Keeps a statement until its rows are asked for, and returns its handle.
    fn keep(
        &self,
        client: &Arc<ClientSession>,
        work: StatementWork,
        schema: SchemaRef,
    ) -> String {
        let handle = Uuid::new_v4().simple().to_string();
        let mut planned = self.planned.lock();
        let of_client = planned.iter().filter(|(_, one)| one.client.id == client.id);
        let oldest = if of_client.clone().count() < PLANNED {
            None
        } else {
            of_client
                .min_by_key(|(_, one)| one.since)
                .map(|(handle, _)| handle.clone())
        };
        if let Some(oldest) = oldest {
            planned.remove(&oldest);
        }
        let statement = Waiting {
            client: Arc::clone(client),
            work,
            schema,
            since: Instant::now(),
        };
        planned.insert(handle.clone(), statement);
        handle
    }

    /// Gives the rows of a statement, which then is planned no more: an expensive
    /// statement must not run twice because a client asks twice.
    pub(crate) fn start(
        self: &Arc<Self>,
        handle: &[u8],
    ) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
        let slot = self.slot()?;
        let handle = String::from_utf8_lossy(handle).into_owned();
        let planned = self.planned.lock().remove(&handle);
        let Some(planned) = planned else {
            return Err(Status::not_found(
                "there is no such statement; a statement runs once, within 10 minutes \
                 after it was planned\nhint: send the statement again",
            ));
        };
        let Waiting {
            client,
            work,
            schema,
            ..
        } = planned;
        let plans = match work {
            StatementWork::Run(plans) => plans,
            StatementWork::Give(rows) => {
                return Ok(output::of_batches(schema, rows).boxed());
            }
        };
        let running = self.begin(handle, &client, slot);
        let explain = self.explain;
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let task = self.work.spawn(async move {
            let token = running.token.clone();
            let plans = plans.to_vec();
            let rows = output::send_rows(client, plans, schema, explain, &sender);
            if token.run_until_cancelled(rows).await.is_none() {
                // The slot is free before the client has read on.
                drop(running);
                let _ = sender.send(Err(status::cancelled())).await;
            }
        });
        let task = Some(AbortOnDropHandle::new(task));
        Ok(StatementRows { receiver, task }.boxed())
    }

    /// Runs statements to their ends. Returns how many rows they changed, if they say so.
    pub(crate) async fn update(
        self: &Arc<Self>,
        client: &Arc<ClientSession>,
        plans: Vec<Planned>,
    ) -> Result<Option<i64>, Status> {
        let runner = Arc::clone(client);
        self.finish(
            client,
            async move { update::run(&runner.session, plans).await },
        )
        .await
    }

    /// Runs a future for a session to its end. It takes a slot and can be cancelled like a
    /// statement.
    async fn finish<T: Send + 'static>(
        self: &Arc<Self>,
        client: &Arc<ClientSession>,
        work: impl Future<Output = Result<T, DataFusionError>> + Send + 'static,
    ) -> Result<T, Status> {
        let handle = Uuid::new_v4().simple().to_string();
        let running = self.begin(handle, client, self.slot()?);
        let token = running.token.clone();
        let work = self.on_work(async move {
            let _running = running;
            work.await
        });
        match token.run_until_cancelled(work).await {
            Some(done) => done,
            None => Err(status::cancelled()),
        }
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the server is stopping"));
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map_err(|_| {
            Status::resource_exhausted(format!(
                "{} statements run already\nhint: wait for one to end, or start the \
                 server with a larger --max-statements",
                self.limits.statements
            ))
        })
    }

    fn begin(
        self: &Arc<Self>,
        handle: String,
        client: &Arc<ClientSession>,
        slot: OwnedSemaphorePermit,
    ) -> RunningStatement {
        let token = CancellationToken::new();
        let entry = (client.id.clone(), token.clone());
        self.running.lock().insert(handle.clone(), entry);
        RunningStatement {
            token,
            handle,
            statements: Arc::clone(self),
            _busy: Busy::new(client),
            _slot: slot,
        }
    }

    /// Cancels a statement, whether it runs or waits.
    pub(crate) fn cancel(&self, handle: &[u8]) -> Cancelled {
        let handle = String::from_utf8_lossy(handle);
        let waited = self.planned.lock().remove(handle.as_ref()).is_some();
        let runs = self.running.lock().get(handle.as_ref()).cloned();
        match (waited, runs) {
            (_, Some((_, token))) => {
                token.cancel();
                Cancelled::Yes
            }
            (true, None) => Cancelled::Yes,
            (false, None) => Cancelled::Unknown,
        }
    }

    /// Cancels everything that a session does.
    pub(crate) fn forget(&self, session: &str) {
        self.planned
            .lock()
            .retain(|_, one| one.client.id != session);
        for (of, token) in self.running.lock().values() {
            if of == session {
                token.cancel();
            }
        }
    }

    /// Refuses new statements from now on.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn cancel_all(&self) {
        self.stop();
        for (_, token) in self.running.lock().values() {
            token.cancel();
        }
    }

    /// Forgets planned statements whose rows nobody asked for in time.
    pub(crate) fn expire(&self) {
        self.planned
            .lock()
            .retain(|_, one| one.since.elapsed() < KEPT);
    }
}

/// A statement that runs; it is known and takes a slot until this is dropped.
struct RunningStatement {
    token: CancellationToken,
    handle: String,
    statements: Arc<Statements>,
    _busy: Busy,
    _slot: OwnedSemaphorePermit,
}

impl Drop for RunningStatement {
    fn drop(&mut self) {
        self.statements.running.lock().remove(&self.handle);
    }
}

/// The rows of a statement that runs. Dropping them cancels it.
struct StatementRows {
    receiver: mpsc::Receiver<Result<FlightData, Status>>,
    /// `None` once it has ended.
    task: Option<AbortOnDropHandle<()>>,
}

impl Stream for StatementRows {
    type Item = Result<FlightData, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.receiver.poll_recv(context)) {
            return Poll::Ready(Some(message));
        }
        let Some(task) = &mut self.task else {
            return Poll::Ready(None);
        };
        let ended = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(ended.err().map(|error| Err(given_up(&error))))
    }
}

fn given_up(error: &JoinError) -> Status {
    if error.is_panic() {
        // The panic hook has said more.
        status::panicked()
    } else {
        Status::unavailable("the server is stopping")
    }
}
