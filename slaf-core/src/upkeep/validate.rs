//! Checks a dataset: reads all of it and compares everything that is stored twice.

use std::collections::HashSet;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt32Type};
use futures::TryStreamExt;

use crate::matrix::values::column;
use crate::write::expression_stats::ExpressionStats;
use crate::{Companions, Dataset, Error, Result, Table, ValueType};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    /// The problem, if there is one.
    pub problem: Option<String>,
}

/// Checks everything. Fails only if a table cannot be read at all.
pub async fn validate(dataset: &Dataset) -> Result<Vec<Check>> {
    let (n_cells, n_genes) = dataset.shape();
    let mut checks = vec![];
    let mut add = |what, problem| checks.push(Check { what, problem });

    let (cells, genes) = (&dataset.cells, &dataset.genes);
    let are_numbered = numbered(cells, "cell_integer_id").await?;
    add("cells are numbered as they stand", are_numbered);
    add("cell ids are unique", unique(cells, "cell_id").await?);
    let are_numbered = numbered(genes, "gene_integer_id").await?;
    add("genes are numbered as they stand", are_numbered);
    add("gene ids are unique", unique(genes, "gene_id").await?);

    let mut stats = ExpressionStats::new(n_genes as usize, ValueType::F64, None)?;
    match stats.replay(&dataset.expression, n_cells).await {
        Ok(()) => add("expression is in the order of its cells", None),
        Err(Error::Corrupt { reason, .. }) => {
            add("expression is in the order of its cells", Some(reason));
            return Ok(checks);
        }
        Err(other) => return Err(other),
    }
    add(
        "cell_start_index gives each cell its rows",
        starts(dataset, &stats).await?,
    );
    let counted = dataset.config.value_count();
    add(
        "config.json counts the values",
        counted.filter(|n| *n != stats.rows).map(|n| {
            let rows = stats.rows;
            format!("it says {n}, and there are {rows} (`slaf repair` mends it)")
        }),
    );
    add(
        "each gene of a cell has one value",
        twice(&dataset.expression).await?,
    );
    let noted = dataset.config.as_json().get("slaf");
    if noted.and_then(|slaf| slaf.get("companions")).is_some() {
        let problem = match dataset.companions().await? {
            None => Some(
                "they were made of another version of `expression` (`slaf index` makes them anew)"
                    .to_owned(),
            ),
            Some(companions) => stale(companions, &stats).await?,
        };
        add(
            "the gene-major copy and the sums agree with expression",
            problem,
        );
    }
    Ok(checks)
}

async fn numbered(table: &Table, name: &str) -> Result<Option<String>> {
    let batch = table.read(&[name]).await?;
    let ids = cast(batch.column(0), &DataType::Int64)?;
    let ids = ids.as_primitive::<Int64Type>().values();
    let wrong = ids.iter().enumerate().find(|(row, id)| **id != *row as i64);
    Ok(wrong.map(|(row, id)| format!("row {row} says {id}")))
}

async fn unique(table: &Table, name: &str) -> Result<Option<String>> {
    let batch = table.read(&[name]).await?;
    let ids = cast(batch.column(0), &DataType::LargeUtf8)?;
    let mut seen = HashSet::new();
    let twice = ids
        .as_string::<i64>()
        .iter()
        .flatten()
        .find(|id| !seen.insert(id.to_string()));
    Ok(twice.map(|id| format!("`{id}` is there twice")))
}

/// Finds a gene that occurs more than once in a cell.
async fn twice(expression: &Table) -> Result<Option<String>> {
    let unreadable = |e: lance::Error| expression.unreadable(&e);
    let mut scanner = expression.lance.scan();
    let names = ["cell_integer_id", "gene_integer_id"];
    scanner
        .project(&names)
        .map_err(unreadable)?
        .scan_in_order(true);
    let mut stream = scanner.try_into_stream().await.map_err(unreadable)?;
    let (mut cell, mut genes) = (-1, vec![]);
    while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
        let ids = column::<i64>(batch.column(0))?;
        let of = column::<i64>(batch.column(1))?;
        for (id, gene) in ids.iter().zip(of.iter()) {
            if *id != cell {
                if let Some(found) = repeated(cell, &mut genes) {
                    return Ok(Some(found));
                }
                cell = *id;
            }
            genes.push(*gene);
        }
    }
    Ok(repeated(cell, &mut genes))
}

/// Checks the `genes` of a cell for repeats, and empties the list.
fn repeated(cell: i64, genes: &mut Vec<i64>) -> Option<String> {
    if genes.windows(2).any(|pair| pair[0] >= pair[1]) {
        genes.sort_unstable();
    }
    let same = genes.windows(2).find(|pair| pair[0] == pair[1]);
    let found = same.map(|pair| {
        format!(
            "cell {cell} has gene {} twice (`slaf convert` to a new dataset sums the two)",
            pair[0]
        )
    });
    genes.clear();
    found
}

async fn starts(dataset: &Dataset, stats: &ExpressionStats) -> Result<Option<String>> {
    if dataset
        .cells
        .schema
        .field_with_name("cell_start_index")
        .is_err()
    {
        return Ok(Some("the column is missing (`slaf repair` adds it)".into()));
    }
    let batch = dataset.cells.read(&["cell_start_index"]).await?;
    let stored = cast(batch.column(0), &DataType::Int64)?;
    let stored = stored.as_primitive::<Int64Type>().values();
    let wrong = stored.iter().zip(&stats.starts).position(|(a, b)| a != b);
    Ok(wrong.map(|cell| {
        format!(
            "cell {cell} begins at row {}, and it says {} (`slaf repair` mends it)",
            stats.starts[cell], stored[cell]
        )
    }))
}

async fn stale(companions: &Companions, stats: &ExpressionStats) -> Result<Option<String>> {
    for (table, fresh) in [
        (&companions.cell_sums, stats.cell_sums()?),
        (&companions.gene_sums, stats.gene_sums()?),
    ] {
        let stored = table.read(&["nnz", "total"]).await?;
        let totals = |batch: &arrow::array::RecordBatch| {
            let column = batch.column(1).as_primitive::<Float64Type>();
            column.values().to_vec()
        };
        let wrong = totals(&stored)
            .into_iter()
            .zip(totals(&fresh))
            .position(|(a, b)| !near(a, b));
        if let Some(row) = wrong {
            return Ok(Some(format!("row {row} of `{}` is wrong", table.name)));
        }
    }
    stale_copy(companions, stats).await
}

async fn stale_copy(companions: &Companions, stats: &ExpressionStats) -> Result<Option<String>> {
    let Some((table, rows_of)) = companions.by_gene() else {
        return Ok(None);
    };
    if table.rows != stats.rows {
        return Ok(Some(format!(
            "`{}` has {} rows for {}",
            table.name, table.rows, stats.rows
        )));
    }
    let totals = stats.gene_sums()?;
    let totals = totals
        .column(1)
        .as_primitive::<Float64Type>()
        .values()
        .clone();
    let mut stream = table
        .lance
        .scan()
        .scan_in_order(true)
        .try_into_stream()
        .await
        .map_err(|e| table.unreadable(&e))?;
    let (mut gene, mut row, mut total, mut cell) = (0, 0u64, 0.0, 0u64);
    while let Some(batch) = stream.try_next().await.map_err(|e| table.unreadable(&e))? {
        let gaps = batch.column(0).as_primitive::<UInt32Type>();
        let values = column::<f64>(batch.column(1))?;
        for (gap, value) in gaps.values().iter().zip(values.iter()) {
            while row == rows_of(gene).end {
                if !near(total, totals[gene as usize]) {
                    return Ok(Some(format!("gene {gene} of `{}` is wrong", table.name)));
                }
                (gene, total, cell) = (gene + 1, 0.0, 0);
            }
            cell += u64::from(*gap);
            if cell >= stats.n_cells() {
                return Ok(Some(format!("gene {gene} of `{}` is wrong", table.name)));
            }
            total += value;
            row += 1;
        }
    }
    Ok(None)
}

/// Whether two sums of the same numbers, in different order, agree.
fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan())
}
