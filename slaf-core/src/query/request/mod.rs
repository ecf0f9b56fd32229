//! What a caller passes with a statement, and what it receives.

mod answer;
mod options;
mod read_progress;

pub use self::answer::Answer;
pub use self::options::{Engine, Options};
pub use self::read_progress::ReadProgress;
