//! Geneformer's normalisation factors for a dataset that is its own corpus: the
//! median of each gene's nonzero counts, scaled to the cell's total.

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;

use super::geneformer::TARGET;
use crate::matrix::values::column;
use crate::table::row_ranges::read_rows;
use crate::{Companions, Dataset, Error, Random, Result, Selection, ValueType, Values};

/// Approximate number of values to sample if there is no gene-major copy.
const SAMPLE: u64 = 1 << 24;

/// Medians by gene; NaN for genes that no cell expresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Medians {
    pub of_genes: Vec<f64>,
    /// The number of cells used: all, or a random sample.
    pub cells: u64,
}

/// The medians of `dataset`: exact if it has a gene-major copy, otherwise from
/// a random sample of about 16 million values.
pub async fn medians(dataset: &Dataset) -> Result<Medians> {
    if let Some(companions) = dataset.companions().await?
        && let Some(found) = by_gene(dataset, companions).await?
    {
        return Ok(found);
    }
    by_sample(dataset).await
}

async fn by_gene(dataset: &Dataset, companions: &Companions) -> Result<Option<Medians>> {
    let (n_cells, n_genes) = dataset.shape();
    let Some((table, rows_of)) = companions.by_gene().filter(|_| n_genes > 0) else {
        return Ok(None);
    };
    let totals = companions.cell_sums.read(&["total"]).await?;
    let totals = column::<f64>(totals.column(0))?;
    let mut of_genes = Vec::with_capacity(n_genes as usize);
    let (mut left, mut cell) = (rows_of(0).end, 0u32);
    let mut values: Vec<f64> = vec![];
    let mut end_genes = |left: &mut u64, values: &mut Vec<f64>| {
        while *left == 0 && (of_genes.len() as u64) < n_genes {
            of_genes.push(median(values));
            values.clear();
            let gene = of_genes.len() as u64;
            if gene < n_genes {
                let rows = rows_of(gene);
                *left = rows.end - rows.start;
            }
        }
    };
    read_rows(
        table,
        &["cell_delta", "value"],
        vec![0..table.rows],
        |batch| {
            let gaps = batch.column(0).as_primitive::<UInt32Type>().values();
            let counts = column::<f64>(batch.column(1))?;
            for (gap, count) in gaps.iter().zip(counts.iter()) {
                if left == 0 {
                    cell = 0;
                    end_genes(&mut left, &mut values);
                }
                left = left.saturating_sub(1);
                cell = cell.wrapping_add(*gap);
                let total = totals
                    .get(cell as usize)
                    .ok_or_else(|| table.corrupt(format!("it holds cell {cell} of {n_cells}")))?;
                if *count > 0.0 && *total > 0.0 {
                    values.push(count / total * TARGET);
                }
            }
            Ok(())
        },
    )
    .await?;
    left = 0;
    end_genes(&mut left, &mut values);
    Ok(Some(Medians {
        of_genes,
        cells: n_cells,
    }))
}

async fn by_sample(dataset: &Dataset) -> Result<Medians> {
    let (n_cells, n_genes) = dataset.shape();
    let share = SAMPLE as f64 / dataset.expression.rows.max(1) as f64;
    let cells = if share >= 1.0 {
        Selection::all(n_cells)
    } else {
        let mut all: Vec<u64> = (0..n_cells).collect();
        let n = ((n_cells as f64 * share) as usize).max(1);
        Random::of(&[n_cells]).draw(&mut all, n);
        all.truncate(n);
        all.sort_unstable();
        Selection::List(all)
    };
    let csr = dataset
        .csr(&cells, &Selection::all(n_genes), ValueType::F64)
        .await?;
    let Values::F64(counts) = csr.data else {
        return Err(Error::Engine {
            message: "The values were not read as asked for.".into(),
        });
    };
    let mut of_gene: Vec<Vec<f64>> = vec![vec![]; n_genes as usize];
    for span in csr.indptr.windows(2) {
        let span = span[0] as usize..span[1] as usize;
        let total: f64 = counts[span.clone()].iter().sum();
        for at in span.filter(|_| total > 0.0) {
            if counts[at] > 0.0 {
                of_gene[csr.indices[at] as usize].push(counts[at] / total * TARGET);
            }
        }
    }
    Ok(Medians {
        of_genes: of_gene.iter_mut().map(|values| median(values)).collect(),
        cells: cells.len() as u64,
    })
}

/// numpy's median; NaN if there are no values.
fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    let (below, middle, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return *middle;
    }
    let below = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (below + *middle) / 2.0
}
