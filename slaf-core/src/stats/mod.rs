//! Statistics and arithmetic over blocks of rows. A matrix of any size passes
//! through block by block; only one number per row or column is kept.

mod block;
mod by_gene;
mod cell_steps;
mod gram;
mod group_sums;
mod moments;
mod ranks;
mod steps;
mod to_csc;

pub use self::block::Block;
pub use self::by_gene::sums_by_gene;
pub use self::gram::Gram;
pub use self::group_sums::{GroupSums, Groups, Ranking, Wanted};
pub use self::moments::{Moments, Summary, of_rows, top_sums};
pub use self::steps::{Step, apply};
pub use self::to_csc::to_csc;
