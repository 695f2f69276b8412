//! The User-ID XML API of PAN-OS (PAN-OS XML API guide, "User-ID Mapping"): agents of directories, portals and wireless
//! controllers that tell a firewall who is where can tell the sensor too.
//!
//! `POST /api/?type=user-id` with the key as a parameter or in `X-PAN-KEY`, and the message as the parameter `cmd` or as
//! the body. It is HTTP: what is listened to belongs on a network of its own, or behind a server that speaks TLS.

pub mod message;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::Listener;
use ipnet::IpNet;
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};

use self::message::{Message, read};
use super::name::Domains;
use super::{Directory, Ended, Refusal, Source, told};

/// Bytes of a request: some forty thousand entries.
pub const BYTES_MAX: usize = 4 << 20;

/// How long a request may take to come.
const READ_MAX: Duration = Duration::from_secs(10);

/// Header that may bear the key.
const KEY_HEADER: &str = "x-pan-key";

/// µs of a minute.
const MINUTE_US: i64 = 60_000_000;

/// Who may tell, and how it is understood.
#[derive(Debug)]
pub struct UserId {
    clients: Vec<IpNet>,
    key: Vec<u8>,
    domains: Domains,
    timeout_min: u32,
}

/// What came: what stands in the address, the key's header, and the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// Behind the question mark.
    pub query: &'a str,
    /// The key, where it is in the header.
    pub key: Option<&'a [u8]>,
    /// The body is a form's, `application/x-www-form-urlencoded`.
    pub is_form: bool,
    /// The body.
    pub body: &'a [u8],
}

impl UserId {
    /// Takes messages of these clients, who have the key. A login that names no timeout holds for `timeout_min` minutes.
    pub const fn new(
        clients: Vec<IpNet>,
        key: Vec<u8>,
        domains: Domains,
        timeout_min: u32,
    ) -> Self {
        Self { clients, key, domains, timeout_min }
    }

    /// Whether somebody may tell anything at all.
    pub fn is_client(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.clients.iter().any(|prefix| prefix.contains(&address))
    }

    /// Takes a request; returns why it was refused, if it was.
    pub fn take(&self, told: Told<'_>, directory: &Directory, now_us: i64) -> Result<(), Refusal> {
        let form: &[u8] = if told.is_form { told.body } else { &[] };
        let parameter = |wanted: &str| {
            let query = form_urlencoded::parse(told.query.as_bytes());
            let mut all = query.chain(form_urlencoded::parse(form));
            all.find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let key = parameter("key");
        let key = told.key.or(key.as_ref().map(|key| key.as_bytes())).unwrap_or_default();
        if !bool::from(key.ct_eq(&self.key)) {
            return Err(Refusal::UserIdKey);
        }
        if parameter("type").as_deref() != Some("user-id") {
            return Err(Refusal::UserIdMessage);
        }
        let text = match parameter("cmd") {
            Some(text) => text,
            None => {
                Cow::from(std::str::from_utf8(told.body).map_err(|_text| Refusal::UserIdMessage)?)
            }
        };
        self.note(read(&text)?, directory, now_us);
        Ok(())
    }

    /// Logouts come first: who logs out and in again is there.
    fn note(&self, message: Message, directory: &Directory, now_us: i64) {
        for _entry in 0..message.refused {
            directory.refuse(Refusal::UserIdEntry);
        }
        for (address, name) in message.logouts {
            let Some(user) = self.domains.user(&name) else {
                directory.refuse(Refusal::UserIdEntry);
                continue;
            };
            let ended = Ended::At { source: Source::UserId, address, user: Some(&user) };
            directory.end(&ended, now_us, now_us);
        }
        let mut facts = Vec::new();
        for (address, name, timeout_min) in message.logins {
            let Some(user) = self.domains.user(&name) else {
                directory.refuse(Refusal::UserIdEntry);
                continue;
            };
            let minutes = timeout_min.unwrap_or(self.timeout_min);
            // None that is 0 runs out.
            let expires_us = (minutes != 0).then(|| now_us + i64::from(minutes) * MINUTE_US);
            facts.push(told::user_id(address, user, now_us, expires_us));
        }
        if !facts.is_empty() {
            directory.learn(facts, now_us);
        }
    }
}

/// Lets clients in, and nobody else: whoever may tell nothing holds no connection.
struct Clients {
    listener: TcpListener,
    served: Arc<Served>,
}

impl Listener for Clients {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.listener).await;
            if self.served.user_id.is_client(from.ip()) {
                return (stream, from);
            }
            self.served.directory.refuse(Refusal::UserIdClient);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// What the requests have in common.
struct Served {
    user_id: UserId,
    directory: Arc<Directory>,
    now_us: fn() -> i64,
}

/// Opens the address that requests come to.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers requests for ever. `now_us` tells the time, µs since 1970 UTC.
pub async fn serve(
    listener: TcpListener,
    user_id: UserId,
    directory: Arc<Directory>,
    now_us: fn() -> i64,
) -> io::Result<()> {
    let served = Arc::new(Served { user_id, directory, now_us });
    let router = Router::new()
        .route("/api", post(answer))
        .route("/api/", post(answer))
        .with_state(Arc::clone(&served));
    axum::serve(Clients { listener, served }, router).await
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(body) = whole(body).await else {
        return refuse(&served.directory, Refusal::UserIdSize);
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    // Many entries take a while: not on a thread that answers others.
    let taken = tokio::task::spawn_blocking(move || {
        let Served { user_id, directory, now_us } = &*served;
        let told = Told {
            query: &query,
            key: head.headers.get(KEY_HEADER).map(axum::http::HeaderValue::as_bytes),
            is_form: is_form(&head.headers),
            body: &body,
        };
        match user_id.take(told, directory, now_us()) {
            Ok(()) => (StatusCode::OK, SUCCESS).into_response(),
            Err(refusal) => refuse(directory, refusal),
        }
    });
    taken.await.unwrap_or_else(|_panic| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The body, if it is not too large and comes in time.
async fn whole(body: Body) -> Option<bytes::Bytes> {
    tokio::time::timeout(READ_MAX, to_bytes(body, BYTES_MAX)).await.ok()?.ok()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}

/// What a firewall answers.
const SUCCESS: &str = "<response status=\"success\"><result><uid-response><version>2.0</version>\
    <payload/></uid-response></result></response>";

fn refuse(directory: &Directory, refusal: Refusal) -> Response {
    directory.refuse(refusal);
    let (status, text) = if refusal == Refusal::UserIdKey {
        (StatusCode::FORBIDDEN, "Invalid Credential")
    } else if refusal == Refusal::UserIdSize {
        (StatusCode::PAYLOAD_TOO_LARGE, "too large, or too slow")
    } else {
        (StatusCode::BAD_REQUEST, "no message of User-ID")
    };
    let code = status.as_u16();
    let text = format!(
        "<response status=\"error\" code=\"{code}\"><result><msg>{text}</msg></result></response>"
    );
    (status, text).into_response()
}
