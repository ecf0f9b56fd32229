//! What is learned of the rows of X in the one pass that writes them: where
//! each cell begins, sums per cell and per gene, and the gene-major order.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::array::{Float32Array, UInt16Array};
use arrow::datatypes::{ArrowNativeType, DataType};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::dataset::Table;
use crate::transpose::Transposer;
use crate::values::{Value as Number, column};
use crate::{Error, Result, ValueType};

/// Rows of `expression` a replay takes at once.
const REPLAYED: usize = 2 << 20;

/// Values in the type that they are stored in.
pub(crate) enum Stored {
    U16(Vec<u16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Gene numbers in the type that they are stored in.
pub(crate) enum GeneIds {
    U16(Vec<u16>),
    I32(Vec<i32>),
}

impl Stored {
    pub(crate) fn into_array(self) -> ArrayRef {
        match self {
            Self::U16(v) => Arc::new(UInt16Array::from(v)),
            Self::F32(v) => Arc::new(Float32Array::from(v)),
            Self::F64(v) => Arc::new(Float64Array::from(v)),
        }
    }
}

/// A [`Transposer`] of stored values.
pub(crate) enum ByGene {
    U16(Transposer<u16>),
    F32(Transposer<f32>),
    F64(Transposer<f64>),
}

#[derive(Clone, Copy, Default)]
struct Sum {
    nnz: u64,
    total: f64,
    squares: f64,
    min: f64,
    max: f64,
}

pub(crate) struct Tally {
    /// Where each cell begins.
    pub(crate) starts: Vec<i64>,
    pub(crate) rows: u64,
    pub(crate) by_gene: Option<ByGene>,
    cells: Vec<Sum>,
    genes: Vec<Sum>,
}

impl Tally {
    /// Of a matrix with `genes` columns. With `spill`, a local folder with
    /// room for all of X, the gene-major order is made too.
    pub(crate) fn new(genes: usize, values: ValueType, spill: Option<&Path>) -> Result<Self> {
        let by_gene = match (spill, values) {
            (None, _) => None,
            (Some(at), ValueType::U16) => Some(ByGene::U16(Transposer::new(genes, at)?)),
            (Some(at), ValueType::F32) => Some(ByGene::F32(Transposer::new(genes, at)?)),
            (Some(at), _) => Some(ByGene::F64(Transposer::new(genes, at)?)),
        };
        Ok(Self {
            starts: vec![],
            rows: 0,
            by_gene,
            cells: vec![],
            genes: vec![Sum::default(); genes],
        })
    }

    /// Cells so far.
    pub(crate) fn n_cells(&self) -> u64 {
        self.starts.len() as u64
    }

    /// The next cell has `rows` rows.
    pub(crate) fn begin_cell(&mut self, rows: u64) {
        self.starts.push(self.rows as i64);
        self.cells.push(Sum::default());
        self.rows += rows;
    }

    /// The rows of cells that have begun: cell, gene and value of each.
    pub(crate) fn take(&mut self, cells: &[u32], genes: &GeneIds, values: &Stored) -> Result<()> {
        match (genes, values) {
            (GeneIds::U16(g), Stored::U16(v)) => self.add(cells, g, v),
            (GeneIds::U16(g), Stored::F32(v)) => self.add(cells, g, v),
            (GeneIds::U16(g), Stored::F64(v)) => self.add(cells, g, v),
            (GeneIds::I32(g), Stored::U16(v)) => self.add(cells, g, v),
            (GeneIds::I32(g), Stored::F32(v)) => self.add(cells, g, v),
            (GeneIds::I32(g), Stored::F64(v)) => self.add(cells, g, v),
        }
        match (&mut self.by_gene, values) {
            (Some(ByGene::U16(t)), Stored::U16(v)) => push(t, cells, genes, v),
            (Some(ByGene::F32(t)), Stored::F32(v)) => push(t, cells, genes, v),
            (Some(ByGene::F64(t)), Stored::F64(v)) => push(t, cells, genes, v),
            _ => Ok(()),
        }
    }

    fn add<G: ArrowNativeType, T: Number>(&mut self, cells: &[u32], genes: &[G], values: &[T]) {
        for ((&cell, gene), value) in cells.iter().zip(genes).zip(values) {
            let value: f64 = num(*value);
            self.cells[cell as usize].add(value);
            self.genes[gene.as_usize()].add(value);
        }
    }

    /// Takes all rows of an `expression` table again. Of its `cells` cells the
    /// last may be empty.
    pub(crate) async fn replay(&mut self, table: &Table, cells: u64) -> Result<()> {
        let unreadable = |e: lance::Error| table.unreadable(&e);
        let mut scanner = table.lance.scan();
        scanner
            .project(&["cell_integer_id", "gene_integer_id", "value"])
            .map_err(unreadable)?
            .scan_in_order(true)
            .batch_size(REPLAYED);
        let mut stream = scanner.try_into_stream().await.map_err(unreadable)?;
        let genes_end = self.genes.len();
        while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
            self.replay_batch(table, &batch, cells, genes_end)?;
        }
        while self.n_cells() < cells {
            self.begin_cell(0);
        }
        Ok(())
    }

    fn replay_batch(
        &mut self,
        table: &Table,
        batch: &RecordBatch,
        cells: u64,
        genes_end: usize,
    ) -> Result<()> {
        let ids = column::<i64>(batch.column(0))?;
        let mut at = 0;
        while at < ids.len() {
            let cell = ids[at];
            let run = ids[at..].iter().take_while(|id| **id == cell).count();
            let here = cell as u64;
            if cell < 0 || here >= cells || here + 1 < self.n_cells() {
                return Err(table.corrupt(format!(
                    "row {} belongs to cell {cell}, out of its order",
                    self.rows
                )));
            }
            if here + 1 == self.n_cells() {
                self.rows += run as u64;
            } else {
                while self.n_cells() < here {
                    self.begin_cell(0);
                }
                self.begin_cell(run as u64);
            }
            at += run;
        }
        let genes = column::<i32>(batch.column(1))?;
        if let Some(gene) = genes.iter().find(|g| !(0..genes_end as i32).contains(*g)) {
            return Err(table.corrupt(format!("it holds gene {gene} of {genes_end}")));
        }
        let cells: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let stored = batch.column(2);
        let values = match &self.by_gene {
            Some(ByGene::U16(_)) => Stored::U16(column::<u16>(stored)?.to_vec()),
            Some(ByGene::F32(_)) => Stored::F32(column::<f32>(stored)?.to_vec()),
            Some(ByGene::F64(_)) | None => Stored::F64(column::<f64>(stored)?.to_vec()),
        };
        self.take(&cells, &GeneIds::I32(genes.to_vec()), &values)
    }

    /// `nnz`, `total`, `sum_of_squares`, `min` and `max` of the stored values
    /// of each cell. Explicit zeros are stored, and are not counted in `nnz`.
    pub(crate) fn cell_sums(&self) -> Result<RecordBatch> {
        sums(&self.cells, None)
    }

    /// The same of each gene, and where its rows begin in the gene-major copy.
    pub(crate) fn gene_sums(&self) -> Result<RecordBatch> {
        let counts = self.by_gene.as_ref().map(|by_gene| match by_gene {
            ByGene::U16(t) => t.counts(),
            ByGene::F32(t) => t.counts(),
            ByGene::F64(t) => t.counts(),
        });
        let starts = counts.map(|counts| {
            let mut next = 0;
            let starts = counts.iter().map(|count| {
                next += *count as i64;
                next - *count as i64
            });
            Int64Array::from_iter_values(starts)
        });
        sums(&self.genes, starts)
    }

    /// slafdb's `expression_stats`: of the stored values.
    pub(crate) fn summary(&self) -> Value {
        let stored = self.genes.iter().filter(|s| s.squares > 0.0 || s.nnz > 0);
        let (mut total, mut squares, mut range) = (0.0, 0.0, None::<(f64, f64)>);
        for sum in stored {
            total += sum.total;
            squares += sum.squares;
            let (low, high) = range.unwrap_or((sum.min, sum.max));
            range = Some((low.min(sum.min), high.max(sum.max)));
        }
        let n = self.rows.max(1) as f64;
        let mean = total / n;
        let (low, high) = range.unwrap_or_default();
        json!({
            "min_value": low,
            "max_value": high,
            "mean_value": mean,
            "std_value": (squares / n - mean * mean).max(0.0).sqrt(),
        })
    }
}

impl Sum {
    #[inline]
    fn add(&mut self, value: f64) {
        if self.nnz == 0 {
            (self.min, self.max) = (value, value);
        }
        self.nnz += u64::from(value != 0.0);
        self.total += value;
        self.squares += value * value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

fn push<T>(into: &mut Transposer<T>, cells: &[u32], genes: &GeneIds, values: &[T]) -> Result<()>
where
    T: ArrowNativeType + arrow::array::ArrowNativeTypeOp,
{
    match genes {
        GeneIds::U16(genes) => into.push(cells, genes, values),
        GeneIds::I32(genes) => into.push(cells, genes, values),
    }
}

fn num<T: Number>(value: T) -> f64 {
    value.to_f64()
}

fn sums(sums: &[Sum], starts: Option<Int64Array>) -> Result<RecordBatch> {
    let float = |of: fn(&Sum) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(sums.iter().map(of)))
    };
    let nnz = Int64Array::from_iter_values(sums.iter().map(|s| s.nnz as i64));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("nnz", Arc::new(nnz)),
        ("total", float(|s| s.total)),
        ("sum_of_squares", float(|s| s.squares)),
        ("min", float(|s| s.min)),
        ("max", float(|s| s.max)),
    ];
    if let Some(starts) = starts {
        columns.push(("gene_start_index", Arc::new(starts)));
    }
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The type that a stored column is written in, if we write that type.
pub(crate) fn writable(stored: &DataType) -> Result<ValueType> {
    match ValueType::try_from(stored)? {
        known @ (ValueType::U16 | ValueType::F32 | ValueType::F64) => Ok(known),
        other => Err(Error::Engine {
            message: format!(
                "Values stored as {} cannot be appended to. Convert the dataset first: \
                 `slaf convert old.slaf new.slaf`.",
                other.numpy_name()
            ),
        }),
    }
}
