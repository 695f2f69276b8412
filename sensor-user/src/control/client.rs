//! The command line's side of the control socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Longest wait for an answer: a policy of millions of names is read and filled within it.
const ANSWER_WAIT: Duration = Duration::from_mins(2);

/// Asks the daemon behind `socket`; what it is told is JSON, or nothing.
pub async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    told: Bytes,
) -> anyhow::Result<T> {
    let (status, body) = exchange(socket, method, path, told).await?;
    read(socket, status, &body)
}

/// Asks what a daemon of another version may not know; none then.
pub async fn ask_if_known<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
) -> anyhow::Result<Option<T>> {
    let (status, body) = exchange(socket, Method::GET, path, Bytes::new()).await?;
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    read(socket, status, &body).map(Some)
}

fn read<T: DeserializeOwned>(socket: &Path, status: StatusCode, body: &[u8]) -> anyhow::Result<T> {
    if status != StatusCode::OK {
        bail!("{}", String::from_utf8_lossy(body));
    }
    serde_json::from_slice(body)
        .with_context(|| format!("the daemon on {} is another version", socket.display()))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    told: Bytes,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let shown = socket.display();
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("no daemon answers on {shown}; is `campus-sensor run` running with this config?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("talk to the daemon on {shown}"))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "campus-sensor")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(told))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    let (status, body) = tokio::time::timeout(ANSWER_WAIT, answer)
        .await
        .with_context(|| format!("the daemon on {shown} did not answer"))?
        .with_context(|| format!("talk to the daemon on {shown}"))?;
    connection.abort();
    Ok((status, body))
}
