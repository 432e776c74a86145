//! New certificates for a server that runs.
//!
//! Whoever renews a certificate puts other files in the place of the old ones and may tell nobody, so they are looked
//! at every few seconds, and whenever the folder is read again. Handshakes use what is new from then on; connections
//! that are open live on. What is wrong is told once and changes nothing.

use gateway::server::site::Site;
use gateway::tls::identity::{Identity, Look};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// The services that speak TLS, by their entries.
#[derive(Clone)]
pub(crate) struct Certificates(Arc<[(String, Arc<Identity>)]>);

impl Certificates {
    pub(crate) fn of<'a>(sites: impl Iterator<Item = &'a Arc<Site>>) -> Certificates {
        Certificates(sites.filter_map(|site| Some((site.entry.clone(), site.identity.clone()?))).collect())
    }

    /// Waits until they are to be looked at again.
    pub(crate) async fn due(&self) {
        if self.0.is_empty() {
            return pending().await;
        }
        sleep(EVERY).await;
    }

    /// Looks at them, off the shards.
    pub(crate) async fn look(&self) {
        let all = self.clone();
        if let Err(error) =
            spawn_blocking(move || all.0.iter().for_each(|(entry, identity)| look(entry, identity))).await
        {
            tracing::error!(%error, "the certificates cannot be looked at");
        }
    }
}

fn look(entry: &str, identity: &Identity) {
    match identity.refresh(SystemTime::now()) {
        Look::Same => {}
        Look::New(odd) => {
            for fault in &odd {
                tracing::warn!(entry, %fault, "the new certificate is odd");
            }
            tracing::info!(entry, "handshakes use a new certificate from now on");
        }
        Look::Wrong(faults) => {
            for fault in &faults {
                tracing::error!(entry, %fault, "the certificate has changed and cannot be used: the old one stays");
            }
        }
    }
}
