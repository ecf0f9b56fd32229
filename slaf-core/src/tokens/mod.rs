//! Cells as foundation models read them: rows of token ids. The rules are those of
//! the models' own tokenizers, including the order of the arithmetic. Where they
//! leave something open, such as the order of equal genes, we define it.

mod geneformer;
mod medians;
mod scgpt;
mod slafdb;
mod tokenizer;

pub use self::geneformer::{Geneformer, Specials};
pub use self::medians::{Medians, medians};
pub use self::scgpt::{Mask, Scgpt};
pub use self::slafdb::Slafdb;
pub use self::tokenizer::{Cell, Layout, Row, Tokenizer, Tokens, encode};
