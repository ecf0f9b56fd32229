//! The tables that a statement can name.

mod comparison;
mod frame;
mod lookup;

pub use self::comparison::{Comparison, Value};
pub use self::frame::{Frame, FrameRows, Open};
pub(crate) use self::lookup::Named;
pub use self::lookup::{Catalog, Handle};
