//! One request and its answer: bounded in bytes and time, judged on a thread that may wait for the disk.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ledger::witness::{MAX_REQUEST_BYTES, Refusal, Witness, WitnessError};
use tokio::time::timeout;

use crate::serve::{Tell, Told};

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

/// The type of a body that says a size.
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");

/// The type of every other body.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

type Answer = Response<Full<Bytes>>;

pub(crate) async fn answer(
    request: Request<Incoming>,
    witness: Arc<Witness>,
    tell: Tell,
) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    Ok(if path == "/add-checkpoint" {
        if request.method() == Method::POST {
            add_checkpoint(request, witness, tell).await
        } else {
            not_allowed("POST")
        }
    } else if let Some(origin) = monitored(path) {
        if request.method() == Method::GET {
            latest(origin.to_owned(), witness).await
        } else {
            not_allowed("GET")
        }
    } else {
        plain(StatusCode::NOT_FOUND, "there is nothing here\n")
    })
}

/// The digest of the origin in `/<digest>/checkpoint`.
fn monitored(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_suffix("/checkpoint")
}

async fn latest(origin: String, witness: Arc<Witness>) -> Answer {
    // Somebody else's cosignature may be on its way to the disk.
    let latest = tokio::task::spawn_blocking(move || witness.latest(&origin)).await;
    match latest.ok().flatten() {
        Some(note) => text(StatusCode::OK, TEXT, note),
        None => plain(StatusCode::NOT_FOUND, "no such log was cosigned here\n"),
    }
}

async fn add_checkpoint(request: Request<Incoming>, witness: Arc<Witness>, tell: Tell) -> Answer {
    let body = request.into_body();
    let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n");
    // Who says beforehand that it is too long need not send it.
    if body.size_hint().lower() > MAX_REQUEST_BYTES as u64 {
        return too_long();
    }
    let body = match timeout(BODY, Limited::new(body, MAX_REQUEST_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_long(),
        Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "the request is not whole\n"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"),
    };
    let judged = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now())).await;
    match judged {
        Ok(Ok(answer)) => judged_answer(answer),
        Ok(Err(error)) => {
            tell(Told::Trouble(&error));
            unable(&error)
        }
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n"),
    }
}

fn judged_answer(answer: Result<String, Refusal>) -> Answer {
    match answer {
        Ok(lines) => text(StatusCode::OK, TEXT, lines.into_bytes()),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match refusal {
                Refusal::Stale { size } => text(status, SIZE, format!("{size}\n").into_bytes()),
                other => text(status, TEXT, format!("{other}\n").into_bytes()),
            }
        }
    }
}

/// Paths of this machine are not told to whoever asks.
fn unable(error: &WitnessError) -> Answer {
    let why = match error {
        WitnessError::Disk(_) => "the witness cannot write what it would say\n",
        _ => "the witness cannot work\n",
    };
    plain(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "another method is needed\n");
    let headers = answer.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(method));
    answer
}

fn plain(status: StatusCode, why: &'static str) -> Answer {
    text(status, TEXT, why.as_bytes().to_vec())
}

fn text(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_secs())
}
