//! What the nodes of one cluster share: a keeper, a cookie and a port mapper of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::keeper::Keeper;
use crate::port::free_port;

/// Where Debian puts RabbitMQ's own scripts; those in /usr/sbin are wrappers that insist on the system's user.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

#[derive(Debug)]
pub(crate) struct Family {
    epmd: Child,
    epmd_port: u16,
    // After the port mapper: the keeper's end removes the directory.
    keeper: Keeper,
}

impl Family {
    pub(crate) fn start() -> Result<Self> {
        ensure!(
            Path::new(SCRIPTS).join("rabbitmq-server").exists(),
            "RabbitMQ is not installed (no {SCRIPTS}/rabbitmq-server): run deploy/install.sh rabbitmq-server"
        );
        let keeper = Keeper::start("rabbitmq")?;
        write_cookie(&keeper.directory().join("home"))?;
        let epmd_port = free_port()?;
        let mut command = Command::new("epmd");
        command.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        keeper.guard(&mut command);
        let epmd = command.spawn().context("Erlang's port mapper `epmd` could not be started")?;
        Ok(Self { epmd, epmd_port, keeper })
    }

    /// A directory for one node's data, logs and settings.
    pub(crate) fn node_directory(&self, node: &str) -> PathBuf {
        self.keeper.directory().join(node)
    }

    /// One of RabbitMQ's scripts, under the keeper, with this family's cookie and port mapper and nothing of the
    /// machine's own broker settings.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new(SCRIPTS).join(name));
        for (variable, _) in std::env::vars_os() {
            let of_a_broker = variable.to_str().is_some_and(|v| v.starts_with("RABBITMQ_") || v.starts_with("ERL_"));
            if of_a_broker {
                command.env_remove(variable);
            }
        }
        command
            .env("HOME", self.keeper.directory().join("home"))
            .env("LANG", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_CONF_ENV_FILE", self.keeper.directory().join("no-such-file"))
            .stdin(Stdio::null());
        self.keeper.guard(&mut command);
        command
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

/// Erlang takes a cookie only from a file that nobody else can read.
fn write_cookie(home: &Path) -> Result<()> {
    let cookie = home.join(".erlang.cookie");
    let secret: String = (0..40).map(|_| fastrand::alphanumeric()).collect();
    fs::create_dir_all(home)
        .and_then(|()| fs::write(&cookie, secret))
        .and_then(|()| fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)))
        .with_context(|| format!("the cookie {} could not be written", cookie.display()))
}
