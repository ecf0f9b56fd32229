//! Random batches of cells, epoch after epoch. Blocks of neighbouring cells are
//! drawn from everywhere, read together into a buffer, and leave it in random
//! order: close to a true shuffle, at the speed of reading large ranges.

mod batch_loader;
mod batch_plan;
mod buffer;
mod order;
mod source;
mod stream;

pub use self::batch_loader::Loader;
pub use self::batch_plan::BatchPlan;
pub use self::source::{Batch, BatchContent, Content, Source};
pub use self::stream::Batches;
