//! Accepts connections, few at once and none for long, until the process is asked to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ledger::witness::{Witness, WitnessError};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::answer::answer;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: u32 = 64;
/// How long the head of a request may take, the pause before it included.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may last.
const LIFE: Duration = Duration::from_mins(1);
/// How long open connections are waited for at the end.
const PARTING: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Header lines of a request.
const HEAD_LINES: usize = 64;
/// Pause when the system gives no connection, so that it is not asked without end.
const PAUSE: Duration = Duration::from_millis(100);

/// Why nobody is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime or its signals.
    #[error("this machine refused: {0}")]
    Runtime(#[source] io::Error),
}

/// What whoever runs the server wants to know.
#[derive(Debug)]
pub enum Told<'a> {
    /// It listens here.
    Listening(SocketAddr),
    /// A request could not be answered, as the witness cannot write.
    Trouble(&'a WitnessError),
    /// It was asked to end and does.
    Ending,
}

/// Told from whatever thread.
pub(crate) type Tell = Arc<dyn Fn(Told<'_>) + Send + Sync>;

/// Serves until SIGTERM or SIGINT, then ends what it began.
pub fn serve(
    witness: Witness,
    address: SocketAddr,
    tell: impl Fn(Told<'_>) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(ServeError::Runtime)?;
    let served = runtime.block_on(listen(Arc::new(witness), address, Arc::new(tell)));
    runtime.shutdown_timeout(PARTING);
    served
}

async fn listen(witness: Arc<Witness>, address: SocketAddr, tell: Tell) -> Result<(), ServeError> {
    let mut ends = Ends::new().map_err(ServeError::Runtime)?;
    let refused = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    tell(Told::Listening(listener.local_addr().map_err(refused)?));
    let room = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let next = async {
            // Only who has room is accepted, so that nobody is accepted and then kept waiting.
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = ends.wait() => break,
        };
        match accepted {
            (Ok(permit), Ok((stream, _))) => {
                let (witness, tell) = (Arc::clone(&witness), Arc::clone(&tell));
                tokio::spawn(converse(stream, permit, witness, tell));
            }
            // No descriptors left, or a client that was gone at once: neither is a reason to end.
            _ => sleep(PAUSE).await,
        }
    }
    tell(Told::Ending);
    drop(listener);
    // All room is free again when the last one is done.
    let _ = timeout(PARTING, room.acquire_many(CONNECTIONS)).await;
    Ok(())
}

async fn converse(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    witness: Arc<Witness>,
    tell: Tell,
) {
    let service = service_fn(move |request| {
        let (witness, tell) = (Arc::clone(&witness), Arc::clone(&tell));
        answer(request, witness, tell)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .serve_connection(TokioIo::new(stream), service);
    // That a client spoke no HTTP, went away or was too slow is its own affair.
    let _ = timeout(LIFE, connection).await;
    drop(permit);
}

/// The signals that ask the process to end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
