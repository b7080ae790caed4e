//! One request over HTTP or HTTPS, and one answer: what asks witnesses, time-stamping authorities and package indexes.
//!
//! Whoever answers is not trusted: what they say is verified by its signature where it is used, so this module only keeps them
//! from doing harm. An answer has a limit in bytes, the whole request one in time, from the look-up of the name to the last
//! byte. No redirection is followed, for the address is the user's word about whom to ask. No proxy of the environment is
//! used, no cookie kept, no compression accepted, and no connection outlives its request.
//!
//! Certificates are checked against the roots that this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` included), not
//! against a list that was compiled in: a site with an authority of its own need not build anything, and a root that was
//! taken back is taken back here too.

use std::io::{Read as _, Write};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

/// The most bytes that the head of an answer may have.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The most characters of a content type that are kept.
const MAX_CONTENT_TYPE: usize = 200;

/// An answer, of whatever status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code: 200 is good, what else is for the caller to judge.
    pub status: u16,
    /// What the body is said to be, without parameters, in small letters; empty when nothing is said.
    pub content_type: String,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Not an address that can be asked.
    #[error("{url} is not an http:// or https:// address")]
    Address {
        /// What was given.
        url: String,
    },
    /// Nobody by that name.
    #[error("no such host")]
    NoHost,
    /// The network, or the machine there.
    #[error("{}", told(.0))]
    Io(#[source] std::io::Error),
    /// No whole answer in time.
    #[error("no answer within {} s", after.as_secs_f32())]
    Late {
        /// How long was waited for.
        after: Duration,
    },
    /// More than was asked for.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// An answer that sends elsewhere.
    #[error("the answer is a redirection (status {status}), which is not followed")]
    Redirected {
        /// The status code.
        status: u16,
    },
    /// This machine trusts no authority.
    #[error(
        "this machine has no certificates of authorities to trust; install them or set SSL_CERT_FILE"
    )]
    NoRoots,
    /// No trusted connection: a certificate that does not hold, or no common protocol.
    #[error("no trusted connection: {why}")]
    Tls {
        /// What the TLS library says.
        why: String,
    },
    /// Not the protocol.
    #[error("the answer is not HTTP: {why}")]
    Protocol {
        /// What the HTTP library says.
        why: String,
    },
}

/// Asks for what is at an address. The answer has at most `limit_bytes`, and is there within `timeout`.
pub fn get(url: &str, limit_bytes: u64, timeout: Duration) -> Result<Reply, NetError> {
    let agent = agent(url, timeout)?;
    let answered = agent.get(url).call();
    reply(url, answered, limit_bytes, timeout)
}

/// Asks for what is at an address, of one of the kinds in `accept`, and writes it down as it comes. Answers the status code.
pub fn fetch(
    url: &str,
    accept: &str,
    limit_bytes: u64,
    timeout: Duration,
    into: &mut dyn Write,
) -> Result<u16, NetError> {
    let agent = agent(url, timeout)?;
    let answered = agent.get(url).header("accept", accept).call();
    let mut response = head(url, answered, limit_bytes, timeout)?;
    let body = response.body_mut().with_config();
    // The library refuses a body that reaches its limit.
    let mut body = body.limit(limit_bytes.saturating_add(2)).reader();
    let body = &mut body.by_ref().take(limit_bytes.saturating_add(1));
    let count = std::io::copy(body, into).map_err(|error| io_fault(error, limit_bytes, timeout))?;
    if count > limit_bytes {
        return Err(NetError::TooLong { limit: limit_bytes });
    }
    Ok(response.status().as_u16())
}

/// Sends bytes to an address. The answer has at most `limit_bytes`, and is there within `timeout`.
pub fn post(
    url: &str,
    content_type: &str,
    body: &[u8],
    limit_bytes: u64,
    timeout: Duration,
) -> Result<Reply, NetError> {
    let agent = agent(url, timeout)?;
    let answered = agent.post(url).content_type(content_type).send(body);
    reply(url, answered, limit_bytes, timeout)
}

/// An agent for one request: nothing is shared between two.
fn agent(url: &str, timeout: Duration) -> Result<Agent, NetError> {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_response_header_size(MAX_HEAD_BYTES)
        .max_idle_connections(0)
        .user_agent("taintline");
    let config = match url.split_once("://") {
        Some(("https", _)) => config.tls_config(tls()?),
        Some(("http", _)) => config,
        _ => {
            return Err(NetError::Address {
                url: url.to_owned(),
            });
        }
    };
    Ok(config.build().new_agent())
}

fn tls() -> Result<TlsConfig, NetError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(NetError::NoRoots);
    }
    let roots: Vec<Certificate<'static>> = found
        .certs
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// An answer that does not send elsewhere.
fn head(
    url: &str,
    answered: Result<ureq::http::Response<Body>, ureq::Error>,
    limit: u64,
    after: Duration,
) -> Result<ureq::http::Response<Body>, NetError> {
    let response = answered.map_err(|error| match error {
        // The request could not even be written down.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => NetError::Address {
            url: url.to_owned(),
        },
        error => fault(error, limit, after),
    })?;
    let status = response.status().as_u16();
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(NetError::Redirected { status });
    }
    Ok(response)
}

fn reply(
    url: &str,
    answered: Result<ureq::http::Response<Body>, ureq::Error>,
    limit: u64,
    after: Duration,
) -> Result<Reply, NetError> {
    let mut response = head(url, answered, limit, after)?;
    let status = response.status().as_u16();
    let content_type = response.body().mime_type().unwrap_or_default();
    let content_type: String = content_type.chars().take(MAX_CONTENT_TYPE).collect();
    let body = response.body_mut().with_config();
    let body = body
        // The library refuses a body that reaches its limit; one that has exactly what is allowed is good.
        .limit(limit.saturating_add(1))
        .read_to_vec()
        .map_err(|error| fault(error, limit, after))?;
    if body.len() as u64 > limit {
        return Err(NetError::TooLong { limit });
    }
    Ok(Reply {
        status,
        content_type: content_type.to_ascii_lowercase(),
        body,
    })
}

fn fault(error: ureq::Error, limit: u64, after: Duration) -> NetError {
    use ureq::Error;
    match error {
        Error::HostNotFound => NetError::NoHost,
        Error::Timeout(_) => NetError::Late { after },
        Error::BodyExceedsLimit(_) => NetError::TooLong { limit },
        Error::Io(error) => io_fault(error, limit, after),
        Error::Rustls(error) => NetError::Tls {
            why: error.to_string(),
        },
        Error::Tls(why) => NetError::Tls {
            why: why.to_owned(),
        },
        other => NetError::Protocol {
            why: other.to_string(),
        },
    }
}

/// The library hands some of its own errors through as those of the system.
fn io_fault(error: std::io::Error, limit: u64, after: Duration) -> NetError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return NetError::Late { after };
    }
    match error.downcast::<rustls::Error>() {
        Ok(error) => NetError::Tls {
            why: error.to_string(),
        },
        Err(error) => match error.downcast::<ureq::Error>() {
            Ok(inner) => fault(inner, limit, after),
            Err(error) => NetError::Io(error),
        },
    }
}

/// Plain words for what happens every day; else what the system says.
fn told(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "the connection was cut".to_owned()
        }
        ErrorKind::UnexpectedEof => "the answer ends too early".to_owned(),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            "the network does not lead there".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const WAIT: Duration = Duration::from_secs(20);

    /// A server for one request; gives its address and what it was sent. `answer` may be endless: writing ends when nobody
    /// listens any more.
    fn serve(
        answer: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 4096];
            let is_whole = |asked: &[u8]| {
                let text = String::from_utf8_lossy(asked).into_owned();
                text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let length = head.to_lowercase();
                    let length = length.split_once("content-length: ").map_or("0", |it| it.1);
                    body.len().to_string() == length.lines().next().unwrap()
                })
            };
            while !is_whole(&asked) {
                let count = stream.read(&mut piece).unwrap();
                if count == 0 {
                    break;
                }
                asked.extend_from_slice(&piece[..count]);
            }
            for piece in answer {
                if stream.write_all(&piece).is_err() {
                    break;
                }
            }
            String::from_utf8_lossy(&asked).into_owned()
        });
        (url, server)
    }

    fn once(text: &str) -> std::iter::Once<Vec<u8>> {
        std::iter::once(text.as_bytes().to_vec())
    }

    #[test]
    fn what_is_sent_arrives_and_the_answer_comes_back_whatever_its_status() {
        let (url, server) = serve(once(
            "HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 3\r\n\r\n42\n",
        ));
        let reply = post(&url, "application/x", b"the body", 3, WAIT).unwrap();
        assert_eq!(reply.status, 409);
        assert_eq!(reply.content_type, "text/x.tlog.size");
        assert_eq!(reply.body, b"42\n");
        let asked = server.join().unwrap();
        assert!(asked.starts_with("POST /x HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\nthe body"), "{asked}");
        assert!(asked.contains("application/x"), "{asked}");
    }

    #[test]
    fn a_longer_answer_than_allowed_is_refused_and_one_without_end_too() {
        let (url, server) = serve(once("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour"));
        assert!(matches!(
            get(&url, 3, WAIT),
            Err(NetError::TooLong { limit: 3 })
        ));
        server.join().unwrap();
        let flood = once("HTTP/1.1 200 OK\r\n\r\n").chain(std::iter::repeat(vec![b'a'; 65536]));
        let (url, server) = serve(flood);
        assert!(matches!(
            get(&url, 1000, WAIT),
            Err(NetError::TooLong { limit: 1000 })
        ));
        server.join().unwrap();
    }

    #[test]
    fn what_is_fetched_is_written_down_and_no_more_than_allowed() {
        let (url, server) = serve(once("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour"));
        let mut into = Vec::new();
        let status = fetch(&url, "a/b, c/d", 4, WAIT, &mut into).unwrap();
        assert_eq!((status, into.as_slice()), (200, b"four".as_slice()));
        let asked = server.join().unwrap().to_lowercase();
        assert!(asked.contains("accept: a/b, c/d\r\n"), "{asked}");
        let flood = once("HTTP/1.1 200 OK\r\n\r\n").chain(std::iter::repeat(vec![b'a'; 65536]));
        let (url, server) = serve(flood);
        let mut into = Vec::new();
        let refused = fetch(&url, "*/*", 1000, WAIT, &mut into);
        assert!(
            matches!(refused, Err(NetError::TooLong { limit: 1000 })),
            "{refused:?}"
        );
        assert_eq!(into.len(), 1001);
        server.join().unwrap();
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let head = std::iter::repeat(b"X-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n".to_vec());
        let (url, server) = serve(once("HTTP/1.1 200 OK\r\n").chain(head));
        assert!(get(&url, 1000, WAIT).is_err());
        server.join().unwrap();
    }

    #[test]
    fn who_never_ends_its_answer_is_not_waited_for() {
        let drip = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(20));
            b"a".to_vec()
        });
        let (url, server) =
            serve(once("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").chain(drip));
        let late = get(&url, 1 << 20, Duration::from_millis(300));
        assert!(matches!(late, Err(NetError::Late { .. })), "{late:?}");
        server.join().unwrap();
    }

    #[test]
    fn a_redirection_is_told_and_not_followed() {
        for status in [301, 302, 303, 307, 308] {
            let text = format!(
                "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            );
            let (url, server) = serve(once(&text));
            let refused = post(&url, "a/b", b"x", 100, WAIT);
            assert!(
                matches!(refused, Err(NetError::Redirected { status: told }) if told == status),
                "{refused:?}"
            );
            server.join().unwrap();
        }
    }

    #[test]
    fn nobody_there_and_no_address_are_told_in_plain_words() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        assert_eq!(
            get(&url, 10, WAIT).unwrap_err().to_string(),
            "connection refused"
        );
        for url in ["ftp://x/", "x", "", "http://", "http://a b/", "file:///x"] {
            assert!(
                matches!(get(url, 10, WAIT), Err(NetError::Address { .. })),
                "{url}: {:?}",
                get(url, 10, WAIT)
            );
        }
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_not_trusted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        });
        let refused = get(&url, 10, WAIT);
        let expected = |error: &NetError| {
            matches!(
                error,
                NetError::Tls { .. } | NetError::NoRoots | NetError::Io(_)
            )
        };
        assert!(refused.as_ref().is_err_and(expected), "{refused:?}");
        // Where there are no roots nobody was asked.
        if matches!(refused, Err(NetError::NoRoots)) {
            let _ = std::net::TcpStream::connect(
                url.trim_start_matches("https://").trim_end_matches('/'),
            );
        }
        server.join().unwrap();
    }
}
