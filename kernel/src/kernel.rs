//! A running kernel: its sockets, and its interface for a language.

use std::os::fd::RawFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::usage::Usage;
use crate::process::{crashes, lifetime, log};
use crate::protocol::channels::Channels;
use crate::protocol::connection::Connection;
use crate::protocol::message::{Message, Parent};
use crate::protocol::request_queues::{Lane, Lanes};
use crate::protocol::signer::Signer;
use crate::protocol::sockets::{KernelError, Sockets};
use crate::protocol::stdin::{Input, Stdin};
use crate::protocol::{control, shell};

/// The protocol side of a kernel.
pub struct Kernel {
    channels: Channels,
    stdin: Stdin,
    /// Runs the tasks of the sockets.
    _runtime: Runtime,
}

impl Kernel {
    /// Binds the sockets and starts answering. `language` contains the fields
    /// `banner`, `help_links`, `language_info`, `supported_features` and
    /// `debugger` of `kernel_info_reply`. A shutdown ends the process, unless
    /// the kernel is only `embedded` in it.
    pub fn start(
        connection: Connection,
        language: Value,
        embedded: bool,
    ) -> Result<Self, KernelError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("jupyter")
            .enable_all()
            .build()?;
        let signer = Signer::new(&connection.key);
        let lanes = Arc::new(Lanes::new()?);
        let sockets = runtime.block_on(Sockets::bind(&connection, &signer))?;
        let channels = Channels {
            connection: Arc::new(connection),
            iopub: sockets.iopub,
            lanes,
            language: Arc::new(language),
            signer,
            shell: sockets.shell,
            control: sockets.control,
            embedded,
            state: Arc::default(),
        };
        serve(&channels, sockets.from_shell, sockets.from_control);
        if !embedded {
            let orphan = channels.clone();
            lifetime::watch_parent(move || control::shut_down(&orphan));
        }
        Ok(Self {
            channels,
            stdin: sockets.stdin,
            _runtime: runtime,
        })
    }

    /// From now on, what is written to file descriptors 1 and 2 is output of
    /// cells. The previous stderr becomes the log; returns its descriptor.
    pub fn capture(&self) -> std::io::Result<RawFd> {
        self.channels.iopub.capture()?;
        Ok(log::fd())
    }

    /// Logs crashes of native code. Call it after the language has installed
    /// its handlers, which then still run.
    pub fn watch_deaths(&self) {
        crashes::watch();
    }

    /// Starts a cell: output of descriptors and child processes belongs to
    /// `parent`, and a crash is logged as one of `what`.
    pub fn begin_cell(&self, parent: &Parent, what: &str) {
        self.channels.iopub.begin_cell(&parent.header);
        crashes::describe(what);
    }

    /// Cells and comm messages, for the main thread.
    pub fn main_lane(&self) -> &Arc<Lane> {
        &self.channels.lanes.main
    }

    /// Requests that must not wait for a cell, for another thread.
    pub fn side_lane(&self) -> &Arc<Lane> {
        &self.channels.lanes.side
    }

    /// Opens a subshell (JEP 91): returns its id, and the lane of its thread.
    pub fn open_subshell(&self) -> std::io::Result<(String, Arc<Lane>)> {
        self.channels.lanes.open_subshell()
    }

    /// Closes a subshell and ends its lane; returns whether it existed.
    pub fn close_subshell(&self, id: &str) -> bool {
        self.channels.lanes.close_subshell(id)
    }

    pub fn subshell_ids(&self) -> Vec<String> {
        self.channels.lanes.subshell_ids()
    }

    /// Whether a shutdown was requested.
    pub fn ended(&self) -> bool {
        self.channels.ended()
    }

    /// Publishes to all front ends, after all text written before. `parent` is
    /// the JSON of a header, `{}` for none.
    pub fn publish(
        &self,
        msg_type: &str,
        parent: &str,
        metadata: &str,
        content: &str,
        buffers: Vec<Bytes>,
    ) {
        self.channels
            .iopub
            .publish(msg_type, parent, metadata, content, buffers);
    }

    /// Publishes the status `busy` or `idle`.
    pub fn status(&self, state: &str, parent: &Parent) {
        self.channels.iopub.status(state, &parent.header);
    }

    /// Adds text to `stdout` or `stderr`.
    pub fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        self.channels.iopub.write(name, text, parent);
    }

    /// The same without blocking; returns whether it was done.
    pub fn try_write(&self, name: &'static str, text: &str, parent: &Arc<str>) -> bool {
        self.channels.iopub.try_write(name, text, parent)
    }

    pub fn flush(&self) {
        self.channels.iopub.flush();
    }

    /// Answers a request on its channel, after all output before it.
    pub fn reply(&self, msg_type: &str, parent: &Parent, metadata: &str, content: &str) {
        self.channels.iopub.flush();
        self.channels.send(msg_type, parent, metadata, content);
    }

    /// Asks the front end of `parent` for a line.
    pub fn input(
        &self,
        prompt: &str,
        password: bool,
        parent: &Parent,
        interrupted: impl FnMut() -> bool,
    ) -> Input {
        self.channels.iopub.flush();
        self.stdin.ask(prompt, password, parent, interrupted)
    }

    /// Records that no cell runs any more, so that a shutdown interrupts
    /// nothing.
    pub fn leaving(&self) {
        self.channels.leave();
    }

    /// Waits until everything has been sent, and ends all child processes. The
    /// language then has five seconds to shut down.
    pub fn leave(&self) {
        self.channels.settle(Duration::from_secs(2));
        lifetime::end_all();
        std::thread::spawn(|| lifetime::cut_off(Duration::from_secs(5)));
    }

    /// Ends the cell: output of processes from earlier cells belongs to their
    /// own cells again.
    pub fn end_cell(&self) {
        self.channels.iopub.end_cell();
    }
}

/// Starts a thread for each channel. A thread can block: an interrupt on
/// control does not wait for shell.
fn serve(
    channels: &Channels,
    from_shell: mpsc::Receiver<Message>,
    from_control: mpsc::Receiver<Message>,
) {
    let on_shell = channels.clone();
    std::thread::spawn(move || {
        for message in from_shell {
            shell::handle(&on_shell, message);
        }
    });
    let on_control = channels.clone();
    std::thread::spawn(move || {
        let mut usage = Usage::new();
        for message in from_control {
            control::handle(&on_control, &mut usage, message);
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeromq::{DealerSocket, ReqSocket, Socket, SocketRecv, SocketSend, SubSocket};

    use super::*;
    use crate::protocol::message::{Channel, NO_PARENT};

    /// A front end made of zeromq's sockets.
    struct FrontEnd {
        signer: Signer,
        iopub: SubSocket,
        shell: DealerSocket,
        heart: ReqSocket,
    }

    impl FrontEnd {
        async fn connect(to: &Connection) -> Self {
            let mut front_end = Self {
                signer: Signer::new(&to.key),
                iopub: SubSocket::new(),
                shell: DealerSocket::new(),
                heart: ReqSocket::new(),
            };
            let (iopub, shell) = (to.endpoint(to.iopub_port), to.endpoint(to.shell_port));
            let heart = to.endpoint(to.hb_port);
            front_end.iopub.connect(&iopub).await.unwrap();
            front_end.iopub.subscribe("").await.unwrap();
            front_end.shell.connect(&shell).await.unwrap();
            front_end.heart.connect(&heart).await.unwrap();
            front_end
        }

        async fn ask(&mut self, signer: &Signer, msg_type: &str) {
            let frames = signer.encode(&[], msg_type, NO_PARENT, "{}", "{}", vec![]);
            self.shell.send(frames.try_into().unwrap()).await.unwrap();
        }

        /// Receives the next message on shell: its type and content.
        async fn reply(&mut self) -> (String, Value) {
            let frames = self.shell.recv().await.unwrap().into_vec();
            self.read(frames)
        }

        /// Receives the next message on iopub.
        async fn hear(&mut self) -> (String, Value) {
            let frames = self.iopub.recv().await.unwrap().into_vec();
            self.read(frames)
        }

        fn read(&self, frames: Vec<Bytes>) -> (String, Value) {
            let message = self.signer.decode(Channel::Shell, frames).unwrap();
            let content = serde_json::from_slice(&message.content).unwrap();
            (message.header.msg_type, content)
        }
    }

    fn message(msg_type: &str, content: Value) -> (String, Value) {
        (msg_type.to_owned(), content)
    }

    fn status(state: &str) -> (String, Value) {
        message("status", json!({ "execution_state": state }))
    }

    /// Waits for the next request in a lane.
    fn take(lane: &Lane) -> Message {
        loop {
            if let Some(message) = lane.next() {
                return message;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_front_end_is_welcomed_and_answered() {
        let folder = tempfile::tempdir().unwrap();
        let file = json!({
            "transport": "ipc", "ip": folder.path().join("kernel"), "key": "secret",
            "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
        });
        let connection = Connection::parse(&file.to_string(), "test").unwrap();
        let language = json!({ "banner": "Hello." });
        let kernel = Kernel::start(connection.clone(), language, true).unwrap();
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut front_end = FrontEnd::connect(&connection).await;
            let signer = front_end.signer.clone();
            let welcome = message("iopub_welcome", json!({ "subscription": "" }));
            assert_eq!(front_end.hear().await, welcome);
            assert_eq!(front_end.hear().await, status("starting"));

            front_end.heart.send("".into()).await.unwrap();
            assert_eq!(front_end.heart.recv().await.unwrap().into_vec(), [""]);

            // Only a client with the key gets an answer.
            front_end
                .ask(&Signer::new("guess"), "connect_request")
                .await;
            front_end.ask(&signer, "kernel_info_request").await;
            let (kind, content) = front_end.reply().await;
            assert_eq!(kind, "kernel_info_reply");
            assert_eq!(content["banner"], "Hello.");
            assert_eq!(front_end.hear().await, status("busy"));
            assert_eq!(front_end.hear().await, status("idle"));

            front_end.ask(&signer, "execute_request").await;
            let request = take(kernel.main_lane());
            let (parent, header) = (&request.parent, &request.parent.header);
            kernel.status("busy", parent);
            kernel.write("stdout", "one ", header);
            kernel.write("stdout", "two", header);
            kernel.reply("execute_reply", parent, "{}", r#"{"status":"ok"}"#);
            kernel.status("idle", parent);
            let reply = message("execute_reply", json!({ "status": "ok" }));
            assert_eq!(front_end.reply().await, reply);
            assert_eq!(front_end.hear().await, status("busy"));
            let (mut told, mut heard) = (String::new(), front_end.hear().await);
            // On a slow machine, the text arrives in two pieces.
            while heard.0 == "stream" {
                told.push_str(heard.1["text"].as_str().unwrap());
                heard = front_end.hear().await;
            }
            assert_eq!(told, "one two");
            assert_eq!(heard, status("idle"));
        });
    }
}
