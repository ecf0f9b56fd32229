//! A cell as a foundation model reads it: a row of token ids. The rules are
//! those of the models' own tokenizers, down to the order of the arithmetic;
//! what they leave undefined (which of two equal genes comes first) is defined.

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
