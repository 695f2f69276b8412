//! Who tells the daemon who is where: what listens for it, and what follows it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UdpSocket};
use tracing::{error, info};

use crate::config;
use crate::identity::Directory;
use crate::identity::lease::Format;
use crate::identity::lease::follow::Follower;
use crate::identity::name::Domains;
use crate::identity::neighbour;
use crate::identity::radius::{self, Accounting};
use crate::identity::user_id::{self, UserId};

/// Bytes of a secret: what `FreeRADIUS` takes.
const SECRET_BYTES_MAX: usize = 128;

/// How often files of leases are looked at. A device's first packets follow its lease at once.
const LEASE_INTERVAL: Duration = Duration::from_millis(500);

/// Permissions of others.
const OTHERS: u32 = 0o007;

/// What is ready to be listened to.
pub(super) struct Sources {
    radius: Option<(UdpSocket, Accounting)>,
    user_id: Option<(TcpListener, UserId)>,
    leases: Vec<Follower>,
    neighbours: bool,
}

impl Sources {
    /// Opens everything, so that what is wrong shows before anything is attached. To be called within a runtime.
    pub(super) fn open(config: &config::Identity) -> anyhow::Result<Self> {
        let config::Identity { domains, neighbours, radius, user_id, leases } = config;
        let domains = Domains::new(domains);
        Ok(Self {
            radius: radius_of(radius, domains.clone())?,
            user_id: user_id_of(user_id, domains)?,
            leases: followers(leases),
            neighbours: *neighbours,
        })
    }

    /// Starts to listen. To be called within a runtime.
    pub(super) fn start(self, directory: &Arc<Directory>) {
        let Self { radius, user_id, leases, neighbours } = self;
        if neighbours {
            tokio::spawn(neighbour::follow(Arc::clone(directory), super::now_us));
        }
        if let Some((socket, accounting)) = radius {
            let directory = Arc::clone(directory);
            tokio::spawn(radius::serve(socket, accounting, directory, super::now_us));
        }
        if let Some((listener, user_id)) = user_id {
            let directory = Arc::clone(directory);
            tokio::spawn(async move {
                if let Err(failure) =
                    user_id::serve(listener, user_id, directory, super::now_us).await
                {
                    error!(%failure, "User-ID is listened to no more");
                }
            });
        }
        if !leases.is_empty() {
            tokio::spawn(follow(leases, Arc::clone(directory)));
        }
    }
}

fn radius_of(
    config: &config::Radius,
    domains: Domains,
) -> anyhow::Result<Option<(UdpSocket, Accounting)>> {
    let config::Radius { listen, clients, secret_file, session_s } = config;
    let Some(listen) = *listen else { return Ok(None) };
    let secret = secret(secret_file)?;
    let socket = radius::bind(listen)
        .with_context(|| format!("identity.radius.listen = {listen}: cannot listen there"))?;
    info!(%listen, "RADIUS accounting");
    Ok(Some((socket, Accounting::new(clients.clone(), secret, domains, *session_s))))
}

fn user_id_of(
    config: &config::UserId,
    domains: Domains,
) -> anyhow::Result<Option<(TcpListener, UserId)>> {
    let config::UserId { listen, clients, key_file, timeout_min } = config;
    let Some(listen) = *listen else { return Ok(None) };
    let key = secret(key_file)?;
    let listener = user_id::bind(listen)
        .with_context(|| format!("identity.user_id.listen = {listen}: cannot listen there"))?;
    info!(%listen, "User-ID");
    Ok(Some((listener, UserId::new(clients.clone(), key, domains, *timeout_min))))
}

fn followers(config: &config::Leases) -> Vec<Follower> {
    let config::Leases { kea, dnsmasq, dhcpd } = config;
    let of = |format, paths: &[PathBuf]| {
        paths.iter().map(|path| Follower::new(format, path.clone())).collect::<Vec<_>>()
    };
    [of(Format::Kea, kea), of(Format::Dnsmasq, dnsmasq), of(Format::Dhcpd, dhcpd)].concat()
}

/// Looks at files of leases again and again.
async fn follow(mut leases: Vec<Follower>, directory: Arc<Directory>) {
    let mut looks = tokio::time::interval(LEASE_INTERVAL);
    loop {
        looks.tick().await;
        let directory = Arc::clone(&directory);
        let looked = tokio::task::spawn_blocking(move || {
            for follower in &mut leases {
                follower.look(&directory, super::now_us());
            }
            leases
        });
        match looked.await {
            Ok(followers) => leases = followers,
            Err(failure) => {
                error!(%failure, "leases are followed no more");
                return;
            }
        }
    }
}

/// The secret in a file: all but the space around it.
fn secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let read = || anyhow::Ok((std::fs::metadata(path)?, std::fs::read(path)?));
    let (metadata, bytes) = read().with_context(|| format!("read the secret in {shown}"))?;
    if metadata.permissions().mode() & OTHERS != 0 {
        bail!("{shown}: others may read the secret or write it; chmod o= {shown}");
    }
    let secret = bytes.trim_ascii();
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        bail!("{shown}: write a secret of 1 to {SECRET_BYTES_MAX} bytes into it");
    }
    Ok(secret.to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let refusal = || format!("{:#}", secret(&path).unwrap_err());
        assert!(refusal().contains("secret: No such file"), "{}", refusal());
        std::fs::write(&path, " a secret\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(refusal().contains("others may read the secret or write it; chmod o= "));
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(secret(&path).unwrap(), b"a secret");
        for wrong in [String::new(), "\n".to_owned(), "a".repeat(SECRET_BYTES_MAX + 1)] {
            std::fs::write(&path, wrong).unwrap();
            assert!(refusal().contains("write a secret of 1 to 128 bytes into it"));
        }
    }
}
