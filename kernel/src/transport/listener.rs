//! Accepts connections, over TCP or Unix sockets.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::zmtp::{Reader, Writer, reader, writer};

/// Delay before accepting again, if no file descriptor was left.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections at `tcp://IP:PORT` or `ipc://PATH`. Each is served by
/// its own task; an error ends only that connection. Returns the endpoint, with
/// the actual port if the port was 0.
pub(super) async fn accept<F>(
    endpoint: &str,
    serve: impl Fn(Reader, Writer) -> F + Send + 'static,
) -> io::Result<String>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        // The socket file of a dead kernel would prevent binding.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (read, write) = stream.into_split();
                tokio::spawn(serve(reader(read), writer(write)));
            }
        });
        Ok(endpoint.to_owned())
    } else {
        let listener = TcpListener::bind(endpoint.trim_start_matches("tcp://")).await?;
        let bound = format!("tcp://{}", listener.local_addr()?);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let (read, write) = stream.into_split();
                tokio::spawn(serve(reader(read), writer(write)));
            }
        });
        Ok(bound)
    }
}
