//! The daemon's side of the control socket.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as Named, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{delete, get, post};
use tokio::net::UnixListener;

use super::logins::{LoginStatus, NewLogin};
use super::openmetrics;
use super::status::{PolicyStatus, Status};
use super::top::Top;
use crate::identity::{Amendment, Login};

/// What the daemon can be asked.
pub trait Daemon: Send + Sync + 'static {
    /// Its state.
    fn status(&self) -> anyhow::Result<Status>;

    /// Reads the policy file again; on an error the policy in force stays.
    fn reload_policy(&self) -> anyhow::Result<PolicyStatus>;

    /// Takes note that somebody has logged in at an address, or that nobody is there any more; returns the group that
    /// comes of it.
    fn log_in(&self, address: IpAddr, login: Option<Login>) -> anyhow::Result<Option<String>>;

    /// What of the past is known otherwise than records of then say, oldest first.
    fn amendments(&self) -> Vec<Amendment>;

    /// Everybody who is logged in.
    fn logins(&self) -> Vec<LoginStatus>;

    /// What passes now.
    fn top(&self) -> Top;
}

/// Owner and group may talk to the daemon.
const SOCKET_MODE: u32 = 0o660;

/// Opens the socket. One that a dead daemon left behind is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon answers on it; stop that one first",
        ));
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// Answers until `stopped` is ready.
pub async fn serve<D: Daemon>(
    listener: UnixListener,
    daemon: Arc<D>,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/v1/status", get(status::<D>))
        .route("/metrics", get(metrics::<D>))
        .route("/v1/policy/reload", post(reload::<D>))
        .route("/v1/logins", get(logins::<D>).post(log_in::<D>))
        .route("/v1/logins/{address}", delete(log_out::<D>))
        .route("/v1/amendments", get(amendments::<D>))
        .route("/v1/top", get(top::<D>))
        .with_state(daemon);
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn status<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    match daemon.status() {
        Ok(status) => Json(status).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn metrics<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    let text = daemon.status().and_then(|status| Ok(openmetrics::text(&status)?));
    match text {
        Ok(text) => ([(CONTENT_TYPE, openmetrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn reload<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    // Reading lists and filling maps takes seconds at worst: not on a thread that answers others.
    let reloaded = tokio::task::spawn_blocking(move || daemon.reload_policy()).await;
    match reloaded {
        Ok(Ok(policy)) => Json(policy).into_response(),
        Ok(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn logins<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    match tokio::task::spawn_blocking(move || daemon.logins()).await {
        Ok(logins) => Json(logins).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn amendments<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    Json(daemon.amendments()).into_response()
}

async fn top<D: Daemon>(State(daemon): State<Arc<D>>) -> Response {
    // Some thousand sums are put together: not on a thread that answers others.
    match tokio::task::spawn_blocking(move || daemon.top()).await {
        Ok(top) => Json(top).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn log_in<D: Daemon>(State(daemon): State<Arc<D>>, Json(new): Json<NewLogin>) -> Response {
    match new.check() {
        Ok(login) => note_login(daemon, new.address, Some(login)).await,
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}

async fn log_out<D: Daemon>(
    State(daemon): State<Arc<D>>,
    Named(address): Named<IpAddr>,
) -> Response {
    note_login(daemon, address, None).await
}

async fn note_login<D: Daemon>(daemon: Arc<D>, address: IpAddr, login: Option<Login>) -> Response {
    let told = login.clone();
    // A push may be under way, which it waits for: not on a thread that answers others.
    let noted = tokio::task::spawn_blocking(move || daemon.log_in(address, told)).await;
    match noted {
        Ok(Ok(group)) => Json(LoginStatus { address, login, group }).into_response(),
        Ok(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
