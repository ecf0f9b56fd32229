//! What a caller hands in beside a statement, and gets back.

mod answer;
mod options;
mod read_progress;

pub use self::answer::Answer;
pub use self::options::{Engine, Options};
pub use self::read_progress::ReadProgress;
