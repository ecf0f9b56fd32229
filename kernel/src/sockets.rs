//! Binds the sockets but iopub's, and answers the heartbeat.

use bytes::Bytes;
use tokio::sync::mpsc;
use zeromq::{
    RepSocket, RouterRecvHalf, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend,
    ZmqMessage, ZmqResult,
};

use crate::connection::Connection;

pub(crate) struct Sockets {
    pub(crate) shell: RouterSocket,
    pub(crate) control: RouterSocket,
    pub(crate) stdin: RouterSocket,
}

impl Sockets {
    pub(crate) async fn bind(connection: &Connection) -> ZmqResult<Self> {
        let mut heartbeat = RepSocket::new();
        connection.make_way(connection.hb_port);
        heartbeat
            .bind(&connection.endpoint(connection.hb_port))
            .await?;
        tokio::spawn(echo(heartbeat));
        Ok(Self {
            shell: router(connection, connection.shell_port).await?,
            control: router(connection, connection.control_port).await?,
            stdin: router(connection, connection.stdin_port).await?,
        })
    }
}

async fn router(connection: &Connection, port: u16) -> ZmqResult<RouterSocket> {
    let mut socket = RouterSocket::new();
    connection.make_way(port);
    socket.bind(&connection.endpoint(port)).await?;
    Ok(socket)
}

async fn echo(mut heartbeat: RepSocket) {
    loop {
        if let Ok(beat) = heartbeat.recv().await {
            let _ = heartbeat.send(beat).await;
        }
    }
}

/// Sends what is put in the queue; who has left gets nothing.
pub(crate) fn sender(mut socket: RouterSendHalf) -> mpsc::UnboundedSender<Vec<Bytes>> {
    let (queue, mut messages) = mpsc::unbounded_channel::<Vec<Bytes>>();
    tokio::spawn(async move {
        while let Some(frames) = messages.recv().await {
            if let Ok(message) = ZmqMessage::try_from(frames) {
                let _ = socket.send(message).await;
            }
        }
    });
    queue
}

/// The next message's frames; an error of one peer is not the end.
pub(crate) async fn receive(socket: &mut RouterRecvHalf) -> Vec<Bytes> {
    loop {
        match socket.recv().await {
            Ok(message) => return message.into_vec(),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}
