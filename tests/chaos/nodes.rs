//! Brokers that cases share, since each takes seconds to start.

use anyhow::Result;
use harness::{Broker, Options};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

static DISTURBED: OnceCell<Mutex<Broker>> = OnceCell::const_new();

/// A node that the case may kill, freeze and starve, alone for as long as it keeps the guard; it must leave it running.
pub async fn disturbed() -> Result<MutexGuard<'static, Broker>> {
    let node = DISTURBED.get_or_try_init(|| async { Broker::start(Options::default()).await.map(Mutex::new) }).await?;
    Ok(node.lock().await)
}
