//! Checks a dataset: reads all of it and compares everything that is stored twice.

use std::collections::HashSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, stream};

use super::gene_totals::GeneTotals;
use crate::runtime::task_error;
use crate::write::expression_part::{ExpressionPart, parts_of};
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
    let mut validation = Validation::of(dataset).await?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parts = stream::iter(0..validation.parts())
        .map(|number| {
            let dataset = dataset.clone();
            SpawnedTask::spawn(async move { Part::read(&dataset, number).await })
        })
        .buffered(threads);
    while let Some(part) = parts.next().await {
        validation.add(part.map_err(task_error)??);
    }
    validation.checks().await
}

/// A part of the pass over a dataset. Several processes can read parts, and
/// [`Validation`] takes them.
pub async fn validation_part(dataset: &Dataset, number: u64) -> Result<Vec<u8>> {
    match Part::read(dataset, number).await? {
        Part::OfCells(part) => part.to_bytes(),
        Part::OfGenes(totals) => totals.to_bytes(),
    }
}

enum Part {
    OfCells(ExpressionPart),
    /// Genes of the gene-major copy.
    OfGenes(GeneTotals),
}

impl Part {
    async fn read(dataset: &Dataset, number: u64) -> Result<Self> {
        let (table, shape) = (&dataset.expression, dataset.shape());
        let of_cells = parts_of(table.rows);
        if number < of_cells {
            let part = ExpressionPart::read(table, number, shape.1 as usize, None);
            return Ok(Self::OfCells(part.await?));
        }
        let totals = match dataset.companions().await? {
            Some(companions) => GeneTotals::read(companions, number - of_cells, shape).await?,
            None => GeneTotals(vec![]),
        };
        Ok(Self::OfGenes(totals))
    }
}

/// A running validation, which takes the parts of a pass over the dataset in order.
pub struct Validation {
    dataset: Dataset,
    stats: ExpressionStats,
    /// The totals of the genes in the gene-major copy.
    totals: Vec<Option<f64>>,
    disorder: Option<String>,
    repeated: Option<String>,
    parts_of_cells: u64,
    parts: u64,
    taken: u64,
}

impl Validation {
    pub async fn of(dataset: &Dataset) -> Result<Self> {
        let genes = dataset.shape().1 as usize;
        let parts_of_cells = parts_of(dataset.expression.rows);
        let companions = dataset.companions().await?;
        Ok(Self {
            dataset: dataset.clone(),
            stats: ExpressionStats::new(genes, ValueType::F64, None)?,
            totals: vec![],
            disorder: None,
            repeated: None,
            parts_of_cells,
            parts: parts_of_cells + companions.map_or(0, GeneTotals::parts),
            taken: 0,
        })
    }

    /// The number of parts.
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// Takes the next part, as [`validation_part`] returns it.
    pub fn take(&mut self, part: &[u8]) -> Result<()> {
        self.add(match self.taken < self.parts_of_cells {
            true => Part::OfCells(ExpressionPart::from_bytes(part)?),
            false => Part::OfGenes(GeneTotals::from_bytes(part)?),
        });
        Ok(())
    }

    fn add(&mut self, part: Part) {
        self.taken += 1;
        let (table, cells) = (&self.dataset.expression, self.dataset.shape().0);
        match part {
            Part::OfGenes(totals) => self.totals.extend(totals.0),
            Part::OfCells(_) if self.disorder.is_some() => {}
            Part::OfCells(part) => match self.stats.append(table, &part, cells) {
                Err(Error::Corrupt { reason, .. }) => self.disorder = Some(reason),
                _ => self.repeated = self.repeated.take().or(part.repeated),
            },
        }
    }

    /// The results, when all parts are taken.
    pub async fn checks(mut self) -> Result<Vec<Check>> {
        let (dataset, stats) = (&self.dataset, &mut self.stats);
        let mut checks = vec![];
        let mut add = |what, problem| checks.push(Check { what, problem });
        let (cells, genes) = (&dataset.cells, &dataset.genes);
        let are_numbered = numbered(cells, "cell_integer_id").await?;
        add("cells are numbered as they stand", are_numbered);
        add("cell ids are unique", unique(cells, "cell_id").await?);
        let are_numbered = numbered(genes, "gene_integer_id").await?;
        add("genes are numbered as they stand", are_numbered);
        add("gene ids are unique", unique(genes, "gene_id").await?);
        let ordered = self.disorder.is_none();
        add("expression is in the order of its cells", self.disorder);
        if !ordered {
            return Ok(checks);
        }
        stats.end_cells(dataset.shape().0);
        add(
            "cell_start_index gives each cell its rows",
            starts(dataset, stats).await?,
        );
        let counted = dataset.config.value_count();
        add(
            "config.json counts the values",
            counted.filter(|n| *n != stats.rows).map(|n| {
                let rows = stats.rows;
                format!("it says {n}, and there are {rows} (`slaf repair` repairs it)")
            }),
        );
        let repeated = self.repeated;
        add(
            "each gene of a cell has one value",
            repeated.map(|text| format!("{text} (`slaf convert` to a new dataset sums the two)")),
        );
        let noted = dataset.config.as_json().get("slaf");
        if noted.and_then(|slaf| slaf.get("companions")).is_some() {
            let problem = match dataset.companions().await? {
                None => Some(
                    "they were made of another version of `expression` (`slaf index` makes them \
                     again)"
                        .to_owned(),
                ),
                Some(companions) => stale(companions, stats, &self.totals).await?,
            };
            add(
                "the gene-major copy and the sums agree with expression",
                problem,
            );
        }
        Ok(checks)
    }
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
            "cell {cell} begins at row {}, and it says {} (`slaf repair` repairs it)",
            stats.starts[cell], stored[cell]
        )
    }))
}

async fn stale(
    companions: &Companions,
    stats: &ExpressionStats,
    totals: &[Option<f64>],
) -> Result<Option<String>> {
    for (table, fresh) in [
        (&companions.cell_sums, stats.cell_sums()?),
        (&companions.gene_sums, stats.gene_sums()?),
    ] {
        let stored = table.read(&["nnz", "total"]).await?;
        let wrong = totals_of(&stored)
            .iter()
            .zip(totals_of(&fresh))
            .position(|(a, b)| !near(*a, *b));
        if let Some(row) = wrong {
            return Ok(Some(format!("row {row} of `{}` is wrong", table.name)));
        }
    }
    let Some((table, _)) = companions.by_gene() else {
        return Ok(None);
    };
    if table.rows != stats.rows {
        return Ok(Some(format!(
            "`{}` has {} rows for {}",
            table.name, table.rows, stats.rows
        )));
    }
    let fresh = stats.gene_sums()?;
    let mut pairs = totals.iter().zip(totals_of(&fresh));
    let wrong = pairs.position(|(stored, fresh)| stored.is_none_or(|total| !near(total, *fresh)));
    Ok(wrong.map(|gene| format!("gene {gene} of `{}` is wrong", table.name)))
}

fn totals_of(sums: &RecordBatch) -> &[f64] {
    sums.column(1).as_primitive::<Float64Type>().values()
}

/// Whether two sums of the same numbers, in different order, agree.
fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan())
}
