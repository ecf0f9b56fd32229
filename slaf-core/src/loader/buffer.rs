//! The buffer of cells that were read together, and the batches made from it.

use std::collections::HashMap;
use std::ops::Range;

use super::batch_loader::Loader;
use super::source::{Batch, BatchContent, Content, Source};
use crate::matrix::csr::sort_row;
use crate::matrix::values::Value;
use crate::tokens::{self, Cell};
use crate::{Csr, Error, Result, Selection, ValueType, ValuesRef};

/// The cells of a buffer, in the order in which they leave it.
pub(super) struct Buffer {
    epoch: u64,
    /// The number of its first batch in the epoch.
    first: u64,
    positions: Vec<u64>,
    /// For each source that has cells here, its rows.
    read: HashMap<usize, Read>,
    /// The place of each position among the rows that were read.
    places: Vec<Place>,
}

/// Cells of one source, ascending, with their rows.
struct Read {
    cells: Vec<u64>,
    rows: Csr,
}

#[derive(Clone, Copy)]
struct Place {
    source: usize,
    row: usize,
}

impl Buffer {
    /// Reads the cells at `positions`: each once, in the order they are stored.
    pub(super) async fn read(
        loader: Loader,
        epoch: u64,
        first: u64,
        positions: Vec<u64>,
    ) -> Result<Self> {
        let starts = &loader.inner.starts;
        let mut wanted: HashMap<usize, Vec<u64>> = HashMap::new();
        let located: Vec<(usize, u64)> = positions
            .iter()
            .map(|position| {
                let source = starts.partition_point(|start| start <= position) - 1;
                let within = position - starts[source];
                let cells = &loader.inner.sources[source].cells;
                let cell = cells
                    .as_ref()
                    .map_or(within, |cells| cells[within as usize]);
                wanted.entry(source).or_default().push(cell);
                (source, cell)
            })
            .collect();
        let mut read = HashMap::new();
        for (source, mut cells) in wanted {
            cells.sort_unstable();
            cells.dedup();
            let rows = rows_of(&loader.inner.sources[source], &cells).await?;
            read.insert(source, Read { cells, rows });
        }
        let place = |(source, cell): &(usize, u64)| Place {
            source: *source,
            row: read[source].cells.partition_point(|other| other < cell),
        };
        let places = located.iter().map(place).collect();
        Ok(Self {
            epoch,
            first,
            positions,
            read,
            places,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// A batch of some of the buffer's cells.
    pub(super) fn batch(&self, loader: &Loader, span: Range<usize>) -> Result<Batch> {
        let places = &self.places[span.clone()];
        let index = self.first + (span.start / loader.inner.batch) as u64;
        let content = match &loader.inner.sources[places[0].source].content {
            Content::Tokens(_) => self.tokens(loader, index, places)?,
            Content::Rows { width, dtype, .. } => {
                BatchContent::Rows(self.rows(loader, places, *width, *dtype)?)
            }
        };
        let cell = |place: &Place| self.read[&place.source].cells[place.row] as i64;
        Ok(Batch {
            epoch: self.epoch,
            index,
            positions: self.positions[span].iter().map(|p| *p as i64).collect(),
            cells: places.iter().map(cell).collect(),
            content,
        })
    }

    fn row(&self, place: Place) -> (&[i32], ValuesRef<'_>) {
        let rows = &self.read[&place.source].rows;
        let span = rows.indptr[place.row] as usize..rows.indptr[place.row + 1] as usize;
        (&rows.indices[span.clone()], rows.data.as_ref().slice(span))
    }

    fn tokens(&self, loader: &Loader, index: u64, places: &[Place]) -> Result<BatchContent> {
        let mut runs = vec![];
        // Each source has its own tokenizer, but all make rows of the same layout.
        let mut at = 0;
        while at < places.len() {
            let source = places[at].source;
            let run = places[at..]
                .iter()
                .take_while(|place| place.source == source)
                .count();
            let Content::Tokens(tokenizer) = &loader.inner.sources[source].content else {
                return Err(mixed());
            };
            let cells = (at..at + run).map(|row| {
                let (genes, values) = self.row(places[row]);
                let id = self.read[&source].cells[places[row].row];
                (
                    Cell { id, genes, values },
                    loader.random(self.epoch, index, row),
                )
            });
            runs.push(tokens::encode(tokenizer.as_ref(), cells)?);
            at += run;
        }
        let mut runs = runs.into_iter();
        let mut all = runs.next().ok_or_else(mixed)?;
        for run in runs {
            all.extend(run).ok_or_else(mixed)?;
        }
        Ok(BatchContent::Tokens(all))
    }

    fn rows(
        &self,
        loader: &Loader,
        places: &[Place],
        width: usize,
        dtype: ValueType,
    ) -> Result<Csr> {
        match dtype {
            ValueType::U16 => self.rows_of::<u16>(loader, places, width),
            ValueType::I32 => self.rows_of::<i32>(loader, places, width),
            ValueType::I64 => self.rows_of::<i64>(loader, places, width),
            ValueType::F32 => self.rows_of::<f32>(loader, places, width),
            ValueType::F64 => self.rows_of::<f64>(loader, places, width),
        }
    }

    fn rows_of<T: Value>(&self, loader: &Loader, places: &[Place], width: usize) -> Result<Csr> {
        let stored = places.iter().map(|place| self.row(*place).0.len()).sum();
        let (mut indptr, mut indices) = (vec![0], Vec::with_capacity(stored));
        let mut data: Vec<T> = Vec::with_capacity(stored);
        for place in places {
            let (genes, values) = self.row(*place);
            let Content::Rows { columns, .. } = &loader.inner.sources[place.source].content else {
                return Err(mixed());
            };
            let start = indices.len();
            T::extend(&mut data, values);
            indices.extend_from_slice(genes);
            if let Some(columns) = columns {
                let mut kept = start;
                for at in start..indices.len() {
                    let column = columns[indices[at] as usize];
                    if column >= 0 {
                        (indices[kept], data[kept]) = (column, data[at]);
                        kept += 1;
                    }
                }
                indices.truncate(kept);
                data.truncate(kept);
                if !indices[start..].is_sorted() {
                    sort_row(&mut indices[start..], &mut data[start..]);
                }
            }
            indptr.push(indices.len() as i64);
        }
        Ok(Csr {
            shape: (places.len(), width),
            indptr,
            indices,
            data: T::wrap(data),
        })
    }
}

/// The rows in their stored type: counts take half the memory of floats.
async fn rows_of(source: &Source, cells: &[u64]) -> Result<Csr> {
    let dataset = &source.dataset;
    let stored = dataset.expression.schema.field_with_name("value")?;
    let dtype = ValueType::try_from(stored.data_type())?;
    let genes = Selection::all(dataset.shape().1);
    let cells = Selection::List(cells.to_vec());
    dataset.csr(&cells, &genes, dtype).await
}

fn mixed() -> Error {
    Error::Engine {
        message: "The datasets of a loader must all be tokenized in the same way, or all be read as rows.".into(),
    }
}
