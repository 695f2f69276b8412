//! Asks the daemon again and again, on a thread of its own: an answer that is late holds no key up.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hyper::Method;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::snapshot::Snapshot;
use crate::control::client;

/// How often it is asked: as often as there are new sums, and well within [`crate::assembly::rates::IDLE_NS`].
const PERIOD: Duration = Duration::from_secs(2);

/// Longest wait for an answer: a daemon that fills the tables of a large policy may take a second.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Answers nobody has looked at: the view looks ten times a second.
const NEWS_MAX: usize = 4;

/// What is new.
#[derive(Debug)]
pub(super) enum News {
    /// The daemon has answered.
    Heard(Box<Snapshot>),
    /// It has not, for this reason.
    NotHeard(String),
    /// This process is told to end.
    Ended,
}

/// Starts to ask.
pub(super) fn start(socket: PathBuf) -> anyhow::Result<Receiver<News>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let (sender, news) = sync_channel(NEWS_MAX);
    let run = move || {
        // The view has ended where nobody takes what is new.
        let _ended = runtime.block_on(ask_on(&socket, &sender));
    };
    thread::Builder::new().name("ask".to_owned()).spawn(run).context("start a thread")?;
    Ok(news)
}

async fn ask_on(socket: &Path, news: &SyncSender<News>) -> anyhow::Result<()> {
    let mut told_to_end = pin!(told_to_end());
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            tick.tick().await;
            ask(socket).await
        };
        tokio::select! {
            ended = &mut told_to_end => {
                ended?;
                news.send(News::Ended)?;
                return Ok(());
            }
            one = next => news.send(one)?,
        }
    }
}

async fn ask(socket: &Path) -> News {
    let answers = async {
        let status = client::ask(socket, Method::GET, "/v1/status", Bytes::new()).await?;
        let at = Instant::now();
        let top = client::ask_if_known(socket, "/v1/top").await?;
        Ok::<_, anyhow::Error>(Snapshot { at, status, top })
    };
    match tokio::time::timeout(ANSWER_WAIT, answers).await {
        Ok(Ok(snapshot)) => News::Heard(Box::new(snapshot)),
        Ok(Err(error)) => News::NotHeard(error.root_cause().to_string()),
        Err(_late) => News::NotHeard("no answer in time".to_owned()),
    }
}

/// SIGINT comes by the terminal as a key, but may be sent as well.
async fn told_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
    Ok(())
}
