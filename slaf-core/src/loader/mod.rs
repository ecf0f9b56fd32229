//! Random batches of cells, epoch after epoch. Blocks of neighbouring cells are
//! read from many places into a buffer, and leave the buffer in random order. This
//! is close to a full shuffle, at the speed of reading large ranges.

mod batch_loader;
mod batch_plan;
mod buffer;
mod epoch_order;
mod source;
mod stream;

pub use self::batch_loader::Loader;
pub use self::batch_plan::BatchPlan;
pub use self::source::{Batch, BatchContent, Content, Source};
pub use self::stream::Batches;
