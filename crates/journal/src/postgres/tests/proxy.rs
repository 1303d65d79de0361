//! A way to the database that can fail.

use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use verbatim_postgres::Database;
use verbatim_postgres::testing::TestDatabase;

/// What becomes of the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nothing goes through, either way.
    Freeze,
    /// The connection is cut once the server has answered, before the answer is passed on.
    LoseAnswer,
    /// The connection is cut before the server gets the call, which is kept.
    KeepCall,
}

/// Connections to the server, each with a call that it has not got.
type Kept = Arc<Mutex<Vec<(TcpStream, Vec<u8>)>>>;

pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    kept: Kept,
}

impl Proxy {
    pub async fn start(place: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = (place.options().get_host().to_owned(), place.options().get_port());
        let (mode, current) = watch::channel(Mode::Pass);
        let kept = Kept::default();
        let keep = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server.clone()).await.expect("the server");
                tokio::spawn(pass(client, server, current.clone(), Arc::clone(&keep)));
            }
        });
        Self { port, mode, kept }
    }

    /// The database, by this way.
    pub async fn connect(&self, place: &TestDatabase, connections: u32) -> Database {
        let options: PgConnectOptions = place.options().clone().host("127.0.0.1").port(self.port);
        Database::connect_with(options, connections).await.expect("the database answers")
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Lets the server have the calls that were kept from it, and waits for its answers to them.
    pub async fn deliver_kept(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().expect("nobody panicked"));
        assert!(!kept.is_empty(), "no call was kept");
        for (mut server, call) in kept {
            server.write_all(&call).await.expect("the server takes it");
            let answered = server.read(&mut [0; 4_096]).await.expect("an answer");
            assert!(answered > 0, "the server had closed the connection");
        }
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    mut mode: watch::Receiver<Mode>,
    kept: Kept,
) {
    let (mut call, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (read, is_call) = tokio::select! {
            read = client.read(&mut call) => (read, true),
            read = server.read(&mut answer) => (read, false),
        };
        let Ok(read @ 1..) = read else { return };
        let Ok(mode) = mode.wait_for(|mode| *mode != Mode::Freeze).await.map(|mode| *mode) else {
            return;
        };
        let passed = match (is_call, mode) {
            (true, Mode::KeepCall) => {
                kept.lock().expect("nobody panicked").push((server, call[..read].to_vec()));
                return;
            }
            (false, Mode::LoseAnswer) => return,
            (true, _) => server.write_all(&call[..read]).await,
            (false, _) => client.write_all(&answer[..read]).await,
        };
        if passed.is_err() {
            return;
        }
    }
}
