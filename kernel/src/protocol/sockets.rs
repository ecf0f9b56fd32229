//! The five sockets of a kernel.

use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::connection::Connection;
use super::iopub::IoPub;
use super::message::{Channel, Message};
use super::rejection_log::Refusals;
use super::signer::Signer;
use super::stdin::Stdin;
use crate::transport::router::Router;

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("The kernel cannot start: {0}.")]
    Io(#[from] std::io::Error),
    #[error("The kernel cannot bind its {socket} socket at {endpoint}: {source}.")]
    Bind {
        socket: &'static str,
        endpoint: String,
        source: std::io::Error,
    },
}

/// All sockets except the heartbeat, which runs on its own.
pub(crate) struct Sockets {
    pub(crate) iopub: IoPub,
    pub(crate) shell: Router,
    pub(crate) from_shell: mpsc::Receiver<Message>,
    pub(crate) control: Router,
    pub(crate) from_control: mpsc::Receiver<Message>,
    pub(crate) stdin: Stdin,
}

impl Sockets {
    /// Binds all five sockets to the addresses in the connection file.
    pub(crate) async fn bind(
        connection: &Connection,
        signer: &Signer,
    ) -> Result<Self, KernelError> {
        let echo = |heart: &Router, beat: Vec<Bytes>| heart.send(&beat);
        bind_router(connection, "heartbeat", connection.hb_port, echo).await?;
        let iopub = bind_iopub(connection, signer).await?;
        let listen = |channel| bind_channel(connection, signer, channel);
        let (shell, from_shell) = listen(Channel::Shell).await?;
        let (control, from_control) = listen(Channel::Control).await?;
        let (stdin, from_stdin) = listen(Channel::Stdin).await?;
        Ok(Self {
            iopub,
            shell,
            from_shell,
            control,
            from_control,
            stdin: Stdin::new(signer.clone(), stdin, from_stdin),
        })
    }
}

async fn bind_iopub(connection: &Connection, signer: &Signer) -> Result<IoPub, KernelError> {
    let endpoint = connection.endpoint(connection.iopub_port);
    let bound = IoPub::bind(&endpoint, connection.curve.clone(), signer.clone()).await;
    bound.map_err(|source| KernelError::Bind {
        socket: "iopub",
        endpoint,
        source,
    })
}

/// Binds a socket, and passes on every valid message.
async fn bind_channel(
    connection: &Connection,
    signer: &Signer,
    channel: Channel,
) -> Result<(Router, mpsc::Receiver<Message>), KernelError> {
    let (socket, port) = match channel {
        Channel::Shell => ("shell", connection.shell_port),
        Channel::Control => ("control", connection.control_port),
        Channel::Stdin => ("stdin", connection.stdin_port),
    };
    let (inbox, messages) = mpsc::channel();
    let (signer, refusals) = (signer.clone(), Arc::new(Refusals::default()));
    let take = move |_: &Router, frames| match signer.decode(channel, frames) {
        Ok(message) => {
            let _ = inbox.send(message);
        }
        Err(refused) => refusals.tell(&refused),
    };
    let router = bind_router(connection, socket, port, take).await?;
    Ok((router, messages))
}

async fn bind_router(
    connection: &Connection,
    socket: &'static str,
    port: u16,
    take: impl Fn(&Router, Vec<Bytes>) + Clone + Send + Sync + 'static,
) -> Result<Router, KernelError> {
    let endpoint = connection.endpoint(port);
    let router = Router::new(connection.curve.clone());
    match router.listen(&endpoint, take).await {
        Ok(_) => Ok(router),
        Err(source) => Err(KernelError::Bind {
            socket,
            endpoint,
            source,
        }),
    }
}
