//! A running kernel: its sockets, and what a language needs of them.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedSender;
use zeromq::RouterRecvHalf;

use crate::connection::Connection;
use crate::control;
use crate::iopub::IoPub;
use crate::message::{Message, NO_PARENT, Parent, Signer};
use crate::requests::Requests;
use crate::sockets::{Sockets, receive, sender};
use crate::stdin::{Input, Stdin};

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("The kernel cannot start: {0}.")]
    Io(#[from] std::io::Error),
    #[error("The kernel cannot bind its sockets: {0}.")]
    Bind(#[from] zeromq::ZmqError),
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
    signer: Signer,
    iopub: IoPub,
    requests: Arc<Requests>,
    shell: UnboundedSender<Vec<Bytes>>,
    control: UnboundedSender<Vec<Bytes>>,
    pub(crate) language: Arc<Value>,
    ended: Arc<AtomicBool>,
}

impl Kernel {
    /// Binds the sockets and begins to answer. `language` holds `banner`,
    /// `help_links` and `language_info` of `kernel_info_reply`.
    pub fn start(connection: &Connection, language: Value) -> Result<Self, KernelError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("jupyter")
            .enable_all()
            .build()?;
        let signer = Signer::new(&connection.key);
        let requests = Arc::new(Requests::new()?);
        let (shared, stdin) = runtime.block_on(async {
            let sockets = Sockets::bind(connection).await?;
            let (shell_out, shell_in) = sockets.shell.split();
            let (control_out, control_in) = sockets.control.split();
            let (stdin_out, stdin_in) = sockets.stdin.split();
            let shared = Shared {
                iopub: IoPub::start(sockets.iopub, signer.clone()),
                signer: signer.clone(),
                requests,
                shell: sender(shell_out),
                control: sender(control_out),
                language: Arc::new(language),
                ended: Arc::default(),
            };
            let (replies, answers) = mpsc::channel();
            tokio::spawn(listen(stdin_in, signer.clone(), move |message| {
                let _ = replies.send(message);
            }));
            let on_shell = shared.clone();
            tokio::spawn(listen(shell_in, signer.clone(), move |m| {
                on_shell.take_shell(m)
            }));
            let on_control = serial(shared.clone());
            tokio::spawn(listen(control_in, signer.clone(), on_control));
            let stdin = Stdin::new(signer, sender(stdin_out), answers);
            Ok::<_, KernelError>((shared, stdin))
        })?;
        control::watch_parent(shared.clone());
        shared.iopub.status("starting", NO_PARENT);
        Ok(Self {
            shared,
            stdin,
            _runtime: runtime,
        })
    }

    /// Readable when [`Self::next_request`] may have something, or the kernel
    /// has ended.
    pub fn wake_fd(&self) -> RawFd {
        self.shared.requests.fd()
    }

    /// The next request of the shell channel.
    pub fn next_request(&self) -> Option<Message> {
        self.shared.requests.pop()
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

    /// Adds text to `stdout` or `stderr`.
    pub fn write(&self, name: &'static str, text: &str, parent: &Arc<str>) {
        self.shared.iopub.write(name, text, parent);
    }

    pub fn flush(&self) {
        self.shared.iopub.flush();
    }

    /// Answers a request of the shell channel, after all output before it.
    pub fn reply(&self, msg_type: &str, parent: &Parent, metadata: &str, content: &str) {
        self.shared.iopub.flush();
        let to = &parent.identities;
        let frames =
            self.shared
                .signer
                .encode(to, msg_type, &parent.header, metadata, content, vec![]);
        let _ = self.shared.shell.send(frames);
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

    /// Ends the process once everything said has been sent.
    pub fn exit(&self, code: i32) -> ! {
        self.shared.iopub.settle(Duration::from_secs(2));
        // The transport has no linger: give the last message its way out.
        std::thread::sleep(Duration::from_millis(150));
        control::leave(code)
    }
}

impl Shared {
    /// kernel_info is answered at once, the rest waits for the language.
    fn take_shell(&self, message: Message) {
        if message.header.msg_type == "kernel_info_request" {
            let content = control::kernel_info(&self.language).to_string();
            let shared = self.clone();
            // Publishing blocks, and this is the reader's task.
            tokio::task::spawn_blocking(move || {
                shared.answer(&shared.shell, "kernel_info_reply", &message, &content);
            });
        } else {
            self.requests.push(message);
        }
    }

    pub(crate) fn reply_control(&self, msg_type: &str, message: &Message, content: &str) {
        self.answer(&self.control, msg_type, message, content);
    }

    fn answer(
        &self,
        channel: &UnboundedSender<Vec<Bytes>>,
        msg_type: &str,
        message: &Message,
        content: &str,
    ) {
        let parent = &message.parent;
        self.iopub.status("busy", &parent.header);
        let to = &parent.identities;
        let frames = self
            .signer
            .encode(to, msg_type, &parent.header, "{}", content, vec![]);
        let _ = channel.send(frames);
        self.iopub.status("idle", &parent.header);
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.requests.ring();
    }
}

/// Feeds `take` with every valid message of a socket.
async fn listen(mut socket: RouterRecvHalf, signer: Signer, take: impl Fn(Message)) {
    loop {
        let frames = receive(&mut socket).await;
        match signer.decode(frames) {
            Ok(message) => take(message),
            Err(refused) => log(&format!("refused {refused}")),
        }
    }
}

/// Control messages one after another, on a thread that may block.
fn serial(shared: Shared) -> impl Fn(Message) {
    let (queue, messages) = mpsc::channel::<Message>();
    std::thread::spawn(move || {
        for message in messages {
            control::handle(&shared, &message);
        }
    });
    move |message| {
        let _ = queue.send(message);
    }
}

/// To the kernel's own stderr, which front ends keep as its log.
#[expect(clippy::print_stderr, reason = "this is the log")]
fn log(line: &str) {
    eprintln!("slaf kernel: {line}");
}
