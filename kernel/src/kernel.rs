//! A running kernel: its sockets, and what a language needs of them.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::connection::Connection;
use crate::iopub::IoPub;
use crate::lane::{Lane, Lanes};
use crate::message::{Channel, Message, Parent, Signer};
use crate::processes::Usage;
use crate::refusals::Refusals;
use crate::router::Router;
use crate::stdin::{Input, Stdin};
use crate::{control, death};

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

/// The protocol side of a kernel.
pub struct Kernel {
    shared: Shared,
    stdin: Stdin,
    /// Owns the sockets' tasks.
    _runtime: Runtime,
}

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) connection: Arc<Connection>,
    pub(crate) iopub: IoPub,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) language: Arc<Value>,
    signer: Signer,
    shell: Router,
    control: Router,
    ended: Arc<AtomicBool>,
    leaving: Arc<AtomicBool>,
    /// The process is not the kernel's, and outlives it.
    pub(crate) embedded: bool,
}

impl Kernel {
    /// Binds the sockets and begins to answer. `language` holds `banner`,
    /// `help_links`, `language_info`, `supported_features` and `debugger` of
    /// `kernel_info_reply`. A shutdown ends the process, unless the kernel is
    /// only `embedded` in it.
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
        let (shared, stdin) =
            runtime.block_on(bind(connection, language, signer, lanes, embedded))?;
        if !embedded {
            control::watch_parent(shared.clone());
        }
        Ok(Self {
            shared,
            stdin,
            _runtime: runtime,
        })
    }

    /// From here on, what reaches the file descriptors 1 and 2 is output of
    /// cells, and what was there before is the log, whose descriptor it gives.
    pub fn capture(&self) -> std::io::Result<RawFd> {
        self.shared.iopub.capture()?;
        Ok(crate::log::fd())
    }

    /// Names crashes of native code in the log; after handlers of the
    /// language's, which then still run.
    pub fn watch_deaths(&self) {
        death::watch();
    }

    /// A cell begins: output of descriptors and of processes that it starts
    /// answers `parent`, and a crash is of `what`.
    pub fn begin_cell(&self, parent: &Parent, what: &str) {
        self.shared.iopub.begin_cell(&parent.header);
        death::tell(what);
    }

    /// Cells and comms, for the main thread.
    pub fn main_lane(&self) -> &Arc<Lane> {
        &self.shared.lanes.main
    }

    /// What must not wait for a cell, for another thread.
    pub fn side_lane(&self) -> &Arc<Lane> {
        &self.shared.lanes.side
    }

    /// A new subshell (JEP 91): its id, and the lane of its thread.
    pub fn open_subshell(&self) -> std::io::Result<(String, Arc<Lane>)> {
        self.shared.lanes.open_subshell()
    }

    /// Whether there was such a subshell; its lane ends.
    pub fn close_subshell(&self, id: &str) -> bool {
        self.shared.lanes.close_subshell(id)
    }

    pub fn subshell_ids(&self) -> Vec<String> {
        self.shared.lanes.subshell_ids()
    }

    /// Whether a shutdown has been asked for.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
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
        self.shared
            .iopub
            .publish(msg_type, parent, metadata, content, buffers);
    }

    /// `busy` or `idle`.
    pub fn status(&self, state: &str, parent: &Parent) {
        self.shared.iopub.status(state, &parent.header);
    }

    /// Adds text to `stdout` or `stderr`.
    pub fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        self.shared.iopub.write(name, text, parent);
    }

    /// The same where it need not wait for anything; whether it was done.
    pub fn try_write(&self, name: &'static str, text: &str, parent: &Arc<str>) -> bool {
        self.shared.iopub.try_write(name, text, parent)
    }

    pub fn flush(&self) {
        self.shared.iopub.flush();
    }

    /// Answers a request by the channel that it came by, after all output
    /// before it.
    pub fn reply(&self, msg_type: &str, parent: &Parent, metadata: &str, content: &str) {
        self.shared.iopub.flush();
        self.shared.send(msg_type, parent, metadata, content);
    }

    /// Asks the front end of `parent` for a line.
    pub fn input(
        &self,
        prompt: &str,
        password: bool,
        parent: &Parent,
        interrupted: impl FnMut() -> bool,
    ) -> Input {
        self.shared.iopub.flush();
        self.stdin.ask(prompt, password, parent, interrupted)
    }

    /// No cell runs any more: a shutdown strikes nobody.
    pub fn leaving(&self) {
        self.shared.leaving.store(true, Ordering::Release);
    }

    /// Waits until everything said has been sent, and ends all processes that
    /// were started. The language then has five seconds to take itself down.
    pub fn leave(&self) {
        self.shared.settle(Duration::from_secs(2));
        control::end_all();
        std::thread::spawn(|| control::cut_off(Duration::from_secs(5)));
    }

    /// Nothing runs any more: what a process of an earlier cell writes is of that
    /// cell again.
    pub fn end_cell(&self) {
        self.shared.iopub.end_cell();
    }
}

impl Shared {
    /// kernel_info is answered at once, the rest waits for the language.
    fn take_shell(&self, message: Message) {
        let content = match message.header.msg_type.as_str() {
            "kernel_info_request" => control::kernel_info(&self.language),
            "connect_request" => control::connect(self),
            _ => {
                let Err(lost) = self.lanes.push(message) else {
                    return;
                };
                let id = lost.header.subshell_id.as_deref().unwrap_or_default();
                let content = json!({
                    "status": "error",
                    "ename": "NoSuchSubshell",
                    "evalue": format!("There is no subshell `{id}`."),
                    "traceback": [],
                });
                return self.answer(&lost, &content);
            }
        };
        self.answer(&message, &content);
    }

    pub(crate) fn answer(&self, message: &Message, content: &Value) {
        let parent = &message.parent;
        self.iopub.status("busy", &parent.header);
        // What asks nothing gets no reply.
        if let Some(kind) = message.header.msg_type.strip_suffix("_request") {
            self.send(&format!("{kind}_reply"), parent, "{}", &content.to_string());
        }
        self.iopub.status("idle", &parent.header);
    }

    fn send(&self, msg_type: &str, parent: &Parent, metadata: &str, content: &str) {
        let to = &parent.identities;
        let frames = self
            .signer
            .encode(to, msg_type, &parent.header, metadata, content, vec![]);
        match parent.channel {
            Channel::Control => self.control.send(&frames),
            Channel::Shell | Channel::Stdin => self.shell.send(&frames),
        }
    }

    /// Waits until everything said so far is with the transport.
    pub(crate) fn settle(&self, at_most: Duration) {
        self.iopub.settle(at_most);
        self.shell.settle(at_most);
        self.control.settle(at_most);
    }

    pub(crate) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.lanes.end();
    }
}

/// Binds all five sockets.
async fn bind(
    connection: Connection,
    language: Value,
    signer: Signer,
    lanes: Arc<Lanes>,
    embedded: bool,
) -> Result<(Shared, Stdin), KernelError> {
    let at = |socket: &'static str, port| {
        let endpoint = connection.endpoint(port);
        let shown = endpoint.clone();
        let failed = move |source| KernelError::Bind {
            socket,
            endpoint: shown,
            source,
        };
        (endpoint, failed)
    };
    let keys = || connection.curve.clone();
    let (endpoint, failed) = at("heartbeat", connection.hb_port);
    let echo = |heart: &Router, beat: Vec<Bytes>| heart.send(&beat);
    Router::bind(&endpoint, keys(), echo)
        .await
        .map_err(failed)?;

    let (endpoint, failed) = at("iopub", connection.iopub_port);
    let iopub = IoPub::bind(&endpoint, keys(), signer.clone())
        .await
        .map_err(failed)?;

    let (inbox, from_shell) = mpsc::channel();
    let (endpoint, failed) = at("shell", connection.shell_port);
    let take = listen(Channel::Shell, signer.clone(), inbox);
    let shell = Router::bind(&endpoint, keys(), take)
        .await
        .map_err(failed)?;

    let (inbox, from_control) = mpsc::channel();
    let (endpoint, failed) = at("control", connection.control_port);
    let take = listen(Channel::Control, signer.clone(), inbox);
    let control = Router::bind(&endpoint, keys(), take)
        .await
        .map_err(failed)?;

    let (inbox, from_stdin) = mpsc::channel();
    let (endpoint, failed) = at("stdin", connection.stdin_port);
    let take = listen(Channel::Stdin, signer.clone(), inbox);
    let stdin = Router::bind(&endpoint, keys(), take)
        .await
        .map_err(failed)?;
    let stdin = Stdin::new(signer.clone(), stdin, from_stdin);

    let shared = Shared {
        connection: Arc::new(connection),
        iopub,
        lanes,
        language: Arc::new(language),
        signer,
        shell,
        control,
        ended: Arc::default(),
        leaving: Arc::default(),
        embedded,
    };
    // A thread each, which may block: an interrupt does not wait for the shell.
    let on_shell = shared.clone();
    std::thread::spawn(move || {
        for message in from_shell {
            on_shell.take_shell(message);
        }
    });
    let on_control = shared.clone();
    std::thread::spawn(move || {
        let mut usage = Usage::new();
        for message in from_control {
            control::handle(&on_control, &mut usage, message);
        }
    });
    Ok((shared, stdin))
}

/// Passes on every valid message of a socket.
fn listen(
    channel: Channel,
    signer: Signer,
    inbox: mpsc::Sender<Message>,
) -> impl Fn(&Router, Vec<Bytes>) + Clone + Send + Sync + 'static {
    let refusals = Arc::new(Refusals::default());
    move |_, frames| match signer.decode(channel, frames) {
        Ok(message) => {
            let _ = inbox.send(message);
        }
        Err(refused) => refusals.tell(&refused),
    }
}
