//! The pipeline of a loader: it fills one buffer while it makes batches from the
//! other, and keeps a few batches ready for the training loop.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::JoinHandle;

use super::batch_loader::Loader;
use super::buffer::Buffer;
use super::source::Batch;
use crate::{Error, Result, runtime};

impl Loader {
    /// The batches of `epochs` epochs, beginning with `epoch`, without the
    /// first `skipped` batches of that one.
    pub fn start(&self, epoch: u64, skipped: u64, epochs: u64) -> Batches {
        Batches::start(self.clone(), epoch, skipped, epochs)
    }
}

/// An iterator over batches. When it is dropped, all work stops.
pub struct Batches {
    queue: mpsc::Receiver<Result<Batch>>,
    work: JoinHandle<()>,
}

impl Batches {
    fn start(loader: Loader, epoch: u64, skipped: u64, epochs: u64) -> Self {
        let (sender, queue) = mpsc::channel(loader.inner.ahead);
        let work = runtime::spawn(deliver(loader, epoch, skipped, epochs, sender));
        Self { queue, work }
    }

    /// The next batch; `None` after the last, and after an error. While it
    /// waits, it calls `interrupted` as [`runtime::wait`] does.
    pub fn next(&mut self, interrupted: impl FnMut() -> bool) -> Option<Result<Batch>> {
        match self.queue.try_recv() {
            Ok(batch) => Some(batch),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => match runtime::receive(&mut self.queue, interrupted) {
                Ok(batch) => batch,
                Err(interrupt) => Some(Err(interrupt)),
            },
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A task that is aborted when it is dropped.
struct Working<T>(JoinHandle<Result<T>>);

impl<T> Working<T> {
    async fn result(mut self) -> Result<T> {
        let done = (&mut self.0).await;
        done.unwrap_or_else(|failure| Err(runtime::task_error(failure)))
    }
}

impl<T> Drop for Working<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn deliver(
    loader: Loader,
    epoch: u64,
    skipped: u64,
    epochs: u64,
    queue: mpsc::Sender<Result<Batch>>,
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for (nth, epoch) in (epoch..epoch + epochs).enumerate() {
        let skipped = if nth == 0 { skipped } else { 0 };
        let mut batches = batches_of(&loader, epoch, skipped, threads);
        while let Some(batch) = batches.next().await {
            let failed = batch.is_err();
            if queue.send(batch).await.is_err() || failed {
                return;
            }
        }
    }
}

fn batches_of(
    loader: &Loader,
    epoch: u64,
    skipped: u64,
    threads: usize,
) -> stream::BoxStream<'_, Result<Batch>> {
    let order = &loader.inner.order;
    let of_buffer = order.batches_of_buffer();
    let (size, last) = (loader.inner.batch, loader.batches());
    let positions = order.epoch(epoch);
    let buffers = (skipped / of_buffer..order.buffers()).map(move |buffer| {
        let read = Buffer::read(
            loader.clone(),
            epoch,
            buffer * of_buffer,
            positions.buffer(buffer),
        );
        async move { (buffer, Working(runtime::spawn(read)).result().await) }
    });
    // `buffered` reads the next buffer while this one is used.
    let batches = stream::iter(buffers)
        .buffered(2)
        .map(move |(buffer, read)| {
            let read = Arc::new(read?);
            let first = buffer * of_buffer;
            let spans = (0..read.len())
                .step_by(size)
                .enumerate()
                .filter_map(move |(at, start)| {
                    let number = first + at as u64;
                    (number >= skipped && number < last).then_some(start)
                });
            let made = spans.map(move |start| {
                let (read, loader) = (Arc::clone(&read), loader.clone());
                Ok(async move {
                    let span = start..(start + size).min(read.len());
                    runtime::compute(move || read.batch(&loader, span)).await
                })
            });
            Ok::<_, Error>(stream::iter(made))
        });
    batches.try_flatten().try_buffered(threads).boxed()
}
