//! The sessions of clients: opened at the first request, found by their id, and ended when
//! their client closes them or has been silent for too long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atoll_session::Session;
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

use crate::Limits;
use crate::prepared::PreparedStatement;
use crate::statements::Statements;

/// What ids of sessions begin with, to tell them from tokens.
const PREFIX: &str = "atoll-session-";

/// How many prepared statements a session may keep.
const PREPARED: usize = 1000;

/// The session of one client.
pub(crate) struct ClientSession {
    /// A secret of the client's: whoever shows it may use the session.
    pub(crate) id: String,
    pub(crate) session: Session,
    /// The client has shown the id.
    named: AtomicBool,
    ended: AtomicBool,
    /// When it was last used.
    used: Mutex<Instant>,
    /// Statements that run.
    statements: AtomicUsize,
    /// Connections that used it and are open.
    connections: AtomicUsize,
    prepared: Mutex<HashMap<String, Arc<PreparedStatement>>>,
}

impl ClientSession {
    fn new(session: Session) -> Self {
        Self {
            id: format!("{PREFIX}{}", Uuid::new_v4().simple()),
            session,
            named: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
            statements: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            prepared: Mutex::default(),
        }
    }

    pub(crate) fn is_named(&self) -> bool {
        self.named.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long it has done nothing.
    fn idle(&self) -> Duration {
        match self.statements.load(Ordering::Relaxed) {
            0 => self.used.lock().elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// Keeps a prepared statement and returns its handle.
    pub(crate) fn keep(&self, prepared: PreparedStatement) -> Result<String, Status> {
        let mut kept = self.prepared.lock();
        if kept.len() >= PREPARED {
            return Err(Status::resource_exhausted(format!(
                "this session has {PREPARED} prepared statements; close some first"
            )));
        }
        let handle = Uuid::new_v4().simple().to_string();
        kept.insert(handle.clone(), Arc::new(prepared));
        Ok(handle)
    }

    /// A prepared statement by its handle.
    pub(crate) fn prepared(
        &self,
        handle: &[u8],
    ) -> Result<Arc<PreparedStatement>, Status> {
        let found = std::str::from_utf8(handle)
            .ok()
            .and_then(|handle| self.prepared.lock().get(handle).cloned());
        found.ok_or_else(|| {
            Status::not_found(
                "this session has no such prepared statement; prepare it again",
            )
        })
    }

    pub(crate) fn close(&self, handle: &[u8]) {
        if let Ok(handle) = std::str::from_utf8(handle) {
            self.prepared.lock().remove(handle);
        }
    }
}

/// A statement that runs in a session, which cannot expire meanwhile.
pub(crate) struct Busy(Arc<ClientSession>);

impl Busy {
    pub(crate) fn new(session: &Arc<ClientSession>) -> Self {
        session.statements.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(session))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.statements.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that used a session.
pub(crate) struct Attached(Arc<ClientSession>);

impl Attached {
    pub(crate) fn to(session: &Arc<ClientSession>) -> Self {
        session.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(session))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All sessions.
pub(crate) struct Sessions {
    /// The session from which all others are made, so that they share its storage and its
    /// options.
    first: Arc<Session>,
    limits: Limits,
    statements: Arc<Statements>,
    by_id: Mutex<HashMap<String, Arc<ClientSession>>>,
}

impl Sessions {
    pub(crate) fn new(
        first: Session,
        limits: Limits,
        statements: Arc<Statements>,
    ) -> Self {
        Self {
            first: Arc::new(first),
            limits,
            statements,
            by_id: Mutex::default(),
        }
    }

    /// Opens a session for a client.
    pub(crate) async fn create(&self) -> Result<Arc<ClientSession>, Status> {
        self.make_room()?;
        let first = Arc::clone(&self.first);
        let opened = self
            .statements
            .on_work(async move { first.sibling().await });
        let session = Arc::new(ClientSession::new(opened.await?));
        self.by_id
            .lock()
            .insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// The session with this id, which its client has now shown.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<ClientSession>> {
        let session = self.by_id.lock().get(id).cloned()?;
        session.named.store(true, Ordering::Relaxed);
        session.touch();
        Some(session)
    }

    /// Ends a session and its statements.
    pub(crate) fn end(&self, id: &str) {
        if let Some(session) = self.by_id.lock().remove(id) {
            session.ended.store(true, Ordering::Relaxed);
        }
        self.statements.forget(id);
    }

    /// Ends sessions that did nothing for too long.
    pub(crate) fn expire(&self) {
        let idle = |session: &Arc<ClientSession>| session.idle() > self.limits.idle;
        let ids = self.ids_of(idle);
        ids.iter().for_each(|id| self.end(id));
    }

    fn ids_of(&self, holds: impl Fn(&Arc<ClientSession>) -> bool) -> Vec<String> {
        let by_id = self.by_id.lock();
        let found = by_id.values().filter(|session| holds(session));
        found.map(|session| session.id.clone()).collect()
    }

    /// Clients that went away without a word leave their sessions; the one that was left
    /// first makes room for a new one.
    fn make_room(&self) -> Result<(), Status> {
        let left = {
            let by_id = self.by_id.lock();
            if by_id.len() < self.limits.sessions {
                return Ok(());
            }
            let left = by_id.values().filter(|session| {
                session.connections.load(Ordering::Relaxed) == 0
                    && session.statements.load(Ordering::Relaxed) == 0
            });
            left.max_by_key(|session| session.idle())
                .map(|session| session.id.clone())
        };
        match left {
            Some(id) => {
                self.end(&id);
                Ok(())
            }
            None => Err(Status::resource_exhausted(format!(
                "{} sessions are open already\nhint: close one, or start the server with \
                 a larger --max-sessions",
                self.limits.sessions
            ))),
        }
    }
}

/// Whether a text is the id of a session of this or another server.
pub(crate) fn is_id(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The error for a client whose session has ended.
pub(crate) fn ended() -> Status {
    Status::unauthenticated(
        "this session has ended, with its settings and views\nhint: connect again",
    )
}
