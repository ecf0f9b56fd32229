//! Nearest neighbours in a column of vectors: embeddings of cells or genes.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type};

use super::exact::exact;
use super::input_and_result::{Neighbours, Question};
use crate::{Dataset, Error, Result, Table, nearest};

impl Dataset {
    /// The exact nearest rows in a column of vectors. The column is kept for
    /// the next search.
    pub async fn nearest(
        &self,
        table: &str,
        column: &str,
        question: &Question,
    ) -> Result<Neighbours> {
        let table = self.table(table)?;
        vectors_of(table, column)?;
        let cached = table.cached(&[column]).await?;
        let list = cached
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
pub(crate) fn vectors_of(table: &Table, column: &str) -> Result<usize> {
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
