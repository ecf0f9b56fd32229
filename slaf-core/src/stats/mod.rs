//! Statistics and arithmetic over blocks of rows. A matrix of any size passes
//! through block by block; only one number per row or column is kept.

mod block;
mod gram;
mod moments;
mod rank_sums;
mod steps;
mod to_csc;

pub use self::block::Block;
pub use self::gram::Gram;
pub use self::moments::{Moments, Summary, of_rows, top_sums};
pub use self::rank_sums::{RankSums, rank_sums};
pub use self::steps::{Step, apply};
pub use self::to_csc::to_csc;
