//! Nearest neighbours on embeddings of cells and genes: exact, or through an
//! IVF index that Lance keeps beside the column.

mod exact;
mod index;
mod metric;

pub use exact::exact;
pub use index::{VectorIndex, index_vectors, vector_index};
pub use metric::Metric;

use arrow::array::{Array, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Float32Type};

use crate::dataset::{Dataset, Table};
use crate::suggest::nearest;
use crate::{Error, Result};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// Row-major vectors.
    pub queries: Vec<f32>,
    pub width: usize,
    pub k: usize,
    pub metric: Metric,
    /// Rows that may be found; `None` for all.
    pub among: Option<BooleanBuffer>,
}

/// Of each query, `k` rows from near to far.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    pub k: usize,
    /// -1 where there are fewer than `k` rows, or no more at a known distance.
    pub rows: Vec<i64>,
    /// Infinite where there is no row.
    pub distances: Vec<f64>,
}

impl Question {
    /// Whether it can be asked of vectors of `width` numbers, of which there
    /// are `rows`.
    fn check(&self, width: usize, rows: usize) -> Result<()> {
        let wrong = |message: String| Err(Error::Engine { message });
        if self.width != width {
            return wrong(format!(
                "The query has {} numbers, and the vectors have {width}.",
                self.width
            ));
        }
        if self.k == 0 {
            return wrong("At least one neighbour is looked for (k=1).".into());
        }
        if let Some(at) = self.queries.iter().position(|number| !number.is_finite()) {
            return wrong(format!(
                "Query {} holds {}, and has no neighbours.",
                at / width.max(1),
                self.queries[at]
            ));
        }
        match &self.among {
            Some(among) if among.len() != rows => wrong(format!(
                "A filter of {} rows does not fit {rows}.",
                among.len()
            )),
            _ => Ok(()),
        }
    }

    fn queries(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.queries.chunks_exact(self.width.max(1))
    }
}

impl Dataset {
    /// The nearest rows of a column of vectors, exactly. The column is kept for
    /// the next question.
    pub async fn nearest(
        &self,
        table: &str,
        column: &str,
        question: &Question,
    ) -> Result<Neighbours> {
        let table = self.table(table)?;
        vectors_of(table, column)?;
        let kept = table.kept(&[column]).await?;
        let list = kept
            .first()
            .and_then(|column| column.as_fixed_size_list_opt())
            .ok_or_else(|| table.corrupt(format!("`{column}` was not read")))?;
        let values = list.values().as_primitive::<Float32Type>().values();
        let mut question = question.clone();
        if let Some(nulls) = list.nulls().filter(|nulls| nulls.null_count() > 0) {
            let valid = nulls.inner().clone();
            question.among = Some(match question.among {
                Some(among) if among.len() == valid.len() => &among & &valid,
                Some(among) => among,
                None => valid,
            });
        }
        exact(values, list.value_length() as usize, &question)
    }
}

/// The length of the vectors in a column.
fn vectors_of(table: &Table, column: &str) -> Result<usize> {
    let width = |field: &arrow::datatypes::Field| match field.data_type() {
        DataType::FixedSizeList(item, width) if *item.data_type() == DataType::Float32 => {
            Some(*width as usize)
        }
        _ => None,
    };
    let fields = table.schema.fields();
    let found = fields.iter().find(|field| field.name() == column);
    found.and_then(|field| width(field)).ok_or_else(|| {
        let vectors = fields.iter().filter(|field| width(field).is_some());
        let names: Vec<&str> = vectors.map(|field| field.name().as_str()).collect();
        let near = nearest(column, names.iter().copied());
        Error::Unknown {
            kind: "column of vectors",
            name: column.to_owned(),
            near: if near.is_empty() {
                names.into_iter().map(str::to_owned).collect()
            } else {
                near
            },
        }
    })
}
