//! The connections of clients.
//!
//! A client that sends no id of a session, because its driver keeps no cookies, has the
//! session of its connection.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::sessions::{Attached, ClientSession, Sessions};

/// What a connection knows of its client.
pub(crate) struct Peer {
    /// The session of a client that shows no id. It ends with the connection unless the
    /// client shows the id later: then it may come back by another connection.
    own: OnceCell<Arc<ClientSession>>,
    /// The sessions that were used over this connection.
    attached: Mutex<HashMap<String, Attached>>,
    sessions: Arc<Sessions>,
}

impl Peer {
    /// The session of this connection.
    pub(crate) async fn own_session(&self) -> Result<Arc<ClientSession>, Status> {
        let session = self.own.get_or_try_init(|| self.sessions.create()).await?;
        self.attach(session);
        Ok(Arc::clone(session))
    }

    /// Notes that this connection uses a session.
    pub(crate) fn attach(&self, session: &Arc<ClientSession>) {
        let mut attached = self.attached.lock();
        attached
            .entry(session.id.clone())
            .or_insert_with(|| Attached::to(session));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(session) = self.own.get()
            && !session.is_named()
        {
            self.sessions.end(&session.id);
        }
    }
}

/// A connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: Arc<Peer>,
}

/// Accepts connections until it is dropped.
pub(crate) fn incoming(
    listener: TcpListener,
    sessions: Arc<Sessions>,
) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold(listener, move |listener| {
        let sessions = Arc::clone(&sessions);
        async move {
            let accepted = listener.accept().await.map(|(stream, _)| {
                // Answers are small and awaited.
                let _ = stream.set_nodelay(true);
                let peer = Arc::new(Peer {
                    own: OnceCell::new(),
                    attached: Mutex::default(),
                    sessions,
                });
                Connection { stream, peer }
            });
            Some((accepted, listener))
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
