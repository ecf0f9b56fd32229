//! A selection of the expression matrix as CSR. `cell_start_index` is the
//! indptr of the whole matrix, so a selection of cells is a handful of row
//! ranges; `cell_integer_id` is never read.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;

use crate::coo::to_csr;
use crate::dataset::Dataset;
use crate::ranges::read_rows;
use crate::select::Places;
use crate::values::{Value, column};
use crate::{Result, Selection, ValueType, Values};

/// A compressed sparse row matrix; the column indices of a row ascend.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    pub shape: (usize, usize),
    /// Length `shape.0 + 1`.
    pub indptr: Vec<i64>,
    pub indices: Vec<i32>,
    pub data: Values,
}

impl Dataset {
    /// The counts of `cells` × `genes`, in the order asked for, as `dtype`.
    pub async fn csr(&self, cells: &Selection, genes: &Selection, dtype: ValueType) -> Result<Csr> {
        let (n_cells, n_genes) = self.shape();
        cells.check("cell", n_cells)?;
        genes.check("gene", n_genes)?;
        match dtype {
            ValueType::U16 => self.csr_of::<u16>(cells, genes).await,
            ValueType::I32 => self.csr_of::<i32>(cells, genes).await,
            ValueType::I64 => self.csr_of::<i64>(cells, genes).await,
            ValueType::F32 => self.csr_of::<f32>(cells, genes).await,
            ValueType::F64 => self.csr_of::<f64>(cells, genes).await,
        }
    }

    async fn csr_of<T: Value>(&self, cells: &Selection, genes: &Selection) -> Result<Csr> {
        // A gene of all cells is read without a look at where each begins.
        let whole = cells.is_all(self.shape().0);
        if whole
            && let all = [0..self.expression.rows]
            && let Some(by_gene) = self.csr_by_gene::<T>(cells, genes, &all).await?
        {
            return Ok(by_gene);
        }
        let plan = cells.plan();
        let starts = self.starts_of(&plan.runs).await?;
        let rows: Vec<Range<u64>> = starts
            .iter()
            .filter_map(|run| Some(*run.first()?..*run.last()?))
            .filter(|rows| !rows.is_empty())
            .collect();
        if !whole && let Some(by_gene) = self.csr_by_gene::<T>(cells, genes, &rows).await? {
            return Ok(by_gene);
        }
        let lengths: Vec<usize> = starts
            .iter()
            .flat_map(|run| run.windows(2))
            .map(|cell| (cell[1] - cell[0]) as usize)
            .collect();
        let n_genes = self.shape().1;
        let columns = (!genes.is_all(n_genes)).then(|| Places::new(genes, n_genes as usize));
        let mut assembly = Assembly::<T>::new(lengths, columns);
        read_rows(
            &self.expression,
            &["gene_integer_id", "value"],
            rows,
            |batch| {
                let ids = column::<i32>(batch.column(0))?;
                let values = column::<T>(batch.column(1))?;
                if let Some(gene) = ids.iter().find(|g| !(0..n_genes as i32).contains(*g)) {
                    return Err(self
                        .expression
                        .corrupt(format!("it holds gene {gene} of {n_genes}")));
                }
                assembly.extend(&ids, &values);
                Ok(())
            },
        )
        .await?;
        Ok(assembly.finish(plan.order, genes.len()))
    }
}

impl Dataset {
    /// The same from the gene-major copy, if there is one and it has far fewer
    /// rows to read than `by_cell`.
    async fn csr_by_gene<T: Value>(
        &self,
        cells: &Selection,
        genes: &Selection,
        by_cell: &[Range<u64>],
    ) -> Result<Option<Csr>> {
        let (n_cells, n_genes) = self.shape();
        let cost = |rows: Range<u64>| rows.end - rows.start + RANGE_COST;
        let limit: u64 = by_cell.iter().cloned().map(cost).sum();
        if genes.is_all(n_genes) || genes.is_empty() || genes.len() as u64 * RANGE_COST >= limit {
            return Ok(None);
        }
        let Some(companions) = self.companions().await? else {
            return Ok(None);
        };
        let Some((table, rows_of)) = companions.by_gene() else {
            return Ok(None);
        };
        let wanted: Vec<u64> = genes.plan().runs.into_iter().flatten().collect();
        if wanted.iter().map(|gene| cost(rows_of(*gene))).sum::<u64>() >= limit {
            return Ok(None);
        }
        let places = (!cells.is_all(n_cells)).then(|| Places::new(cells, n_cells as usize));
        let columns = Places::new(genes, n_genes as usize);
        let mut triplets: Vec<(i32, i32, T)> = Vec::new();
        // The gene whose rows come next, how many of them, and its last cell.
        let mut next = wanted.iter().map(|gene| (*gene, rows_of(*gene)));
        let (mut gene, mut left, mut cell) = (0, 0, 0u32);
        let rows = wanted.iter().map(|gene| rows_of(*gene));
        let rows = rows.filter(|rows| !rows.is_empty()).collect();
        read_rows(table, &["cell_delta", "value"], rows, |batch| {
            let gaps = batch
                .column(0)
                .as_primitive::<UInt32Type>()
                .values()
                .clone();
            let values = column::<T>(batch.column(1))?;
            for (gap, value) in gaps.iter().zip(values.iter()) {
                while left == 0 {
                    let Some((number, rows)) = next.next() else {
                        return Err(table.corrupt("it has rows of no gene".into()));
                    };
                    (gene, left, cell) = (number as usize, rows.end - rows.start, 0);
                }
                left -= 1;
                cell = cell.wrapping_add(*gap);
                if u64::from(cell) >= n_cells {
                    return Err(table.corrupt(format!("it holds cell {cell} of {n_cells}")));
                }
                for &column in columns.of(gene) {
                    match &places {
                        None => triplets.push((cell as i32, column, *value)),
                        Some(places) => {
                            let rows = places.of(cell as usize);
                            triplets.extend(rows.iter().map(|&row| (row, column, *value)));
                        }
                    }
                }
            }
            Ok(())
        })
        .await?;
        Ok(Some(to_csr(triplets, (cells.len(), genes.len()))))
    }
}

/// What the start of a range costs, in rows.
const RANGE_COST: u64 = 2048;

/// A CSR matrix under construction, fed with rows in stored order.
struct Assembly<T> {
    /// Rows of each cell that will be fed.
    lengths: Vec<usize>,
    columns: Option<Places>,
    /// The cell being fed, and how many of its rows are still to come.
    cell: usize,
    left: usize,
    indptr: Vec<i64>,
    indices: Vec<i32>,
    data: Vec<T>,
}

impl<T: Value> Assembly<T> {
    fn new(lengths: Vec<usize>, columns: Option<Places>) -> Self {
        // Without a selection of genes the size is known; with one, nearly
        // everything is thrown away.
        let capacity = if columns.is_none() {
            lengths.iter().sum()
        } else {
            0
        };
        let mut indptr = Vec::with_capacity(lengths.len() + 1);
        indptr.push(0);
        Self {
            left: lengths.first().copied().unwrap_or(0),
            lengths,
            columns,
            cell: 0,
            indptr,
            indices: Vec::with_capacity(capacity),
            data: Vec::with_capacity(capacity),
        }
    }

    fn extend(&mut self, genes: &[i32], values: &[T]) {
        let mut at = 0;
        while at < genes.len() {
            while self.left == 0 {
                self.end_cell();
            }
            let take = self.left.min(genes.len() - at);
            self.extend_cell(&genes[at..at + take], &values[at..at + take]);
            self.left -= take;
            at += take;
        }
    }

    fn extend_cell(&mut self, genes: &[i32], values: &[T]) {
        let Some(columns) = &self.columns else {
            self.indices.extend_from_slice(genes);
            self.data.extend_from_slice(values);
            return;
        };
        for (&gene, &value) in genes.iter().zip(values) {
            for &column in columns.of(gene as usize) {
                self.indices.push(column);
                self.data.push(value);
            }
        }
    }

    fn end_cell(&mut self) {
        let start = self.indptr[self.cell] as usize;
        let indices = &mut self.indices[start..];
        if !indices.is_sorted() {
            sort_row(indices, &mut self.data[start..]);
        }
        self.indptr.push(self.indices.len() as i64);
        self.cell += 1;
        self.left = self.lengths.get(self.cell).copied().unwrap_or(usize::MAX);
    }

    fn finish(mut self, order: Option<Vec<usize>>, width: usize) -> Csr {
        while self.cell < self.lengths.len() {
            self.end_cell();
        }
        let (indptr, indices, data) = match order {
            None => (self.indptr, self.indices, self.data),
            Some(order) => gather(&order, &self.indptr, &self.indices, &self.data),
        };
        Csr {
            shape: (indptr.len() - 1, width),
            indptr,
            indices,
            data: T::wrap(data),
        }
    }
}

/// Rows of a CSR matrix in another order, with repeats.
fn gather<T: Copy>(
    order: &[usize],
    indptr: &[i64],
    indices: &[i32],
    data: &[T],
) -> (Vec<i64>, Vec<i32>, Vec<T>) {
    let span = |row: usize| indptr[row] as usize..indptr[row + 1] as usize;
    let total = order.iter().map(|&row| span(row).len()).sum();
    let mut out = (
        Vec::with_capacity(order.len() + 1),
        Vec::with_capacity(total),
        Vec::with_capacity(total),
    );
    out.0.push(0);
    for &row in order {
        out.1.extend_from_slice(&indices[span(row)]);
        out.2.extend_from_slice(&data[span(row)]);
        out.0.push(out.1.len() as i64);
    }
    out
}

/// Sorts one row by column.
pub(crate) fn sort_row<T: Copy>(indices: &mut [i32], data: &mut [T]) {
    let mut pairs: Vec<(i32, T)> = indices.iter().copied().zip(data.iter().copied()).collect();
    pairs.sort_by_key(|(column, _)| *column);
    for (at, (column, value)) in pairs.into_iter().enumerate() {
        indices[at] = column;
        data[at] = value;
    }
}
