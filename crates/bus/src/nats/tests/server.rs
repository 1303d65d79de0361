//! A NATS server of a test's own, to be killed and frozen.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub(super) struct Server {
    port: u16,
    data: TempDir,
    config: String,
    process: Option<Child>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With some more lines of configuration.
    pub(super) async fn start_with(config: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let data = TempDir::new().expect("a folder");
        let mut server = Self { port, data, config: config.to_owned(), process: None };
        server.restart().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, if it runs, and starts it with what it had stored.
    pub(super) async fn restart(&mut self) {
        self.kill();
        let store = self.data.path().join("store");
        let config = self.data.path().join("nats.conf");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: {store:?} }}\n{}\n",
            self.port, self.config
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        let process = Command::new(program())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("nats-server starts"));
        super::eventually("the server listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("it runs");
        let sent = Command::new("kill").arg(signal).arg(process.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where `scripts/test` installs it, else what is on the path.
fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/nats-server");
    if installed.exists() { installed } else { PathBuf::from("nats-server") }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
