//! Statistics of one part of X, collected in a pass over it. Several processes can
//! collect parts, and [`super::expression_stats::ExpressionStats`] adds them up.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BinaryArray, Int64Array, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, Schema, UInt32Type, UInt64Type};
use futures::StreamExt;

use super::sum::{Sum, packed, unpacked};
use crate::ground::ipc::{from_bytes, to_bytes};
use crate::matrix::transposer::SortedBlock;
use crate::matrix::values::column;
use crate::table::row_ranges::read_stream;
use crate::{Error, Result, Table, ValueType};

/// Rows per part: they take a fraction of a second. A cell belongs to the part of its
/// first row.
const PART_ROWS: u64 = 1 << 22;
/// Rows that are read at a time to find the end of the last cell.
const MORE_ROWS: u64 = 1 << 14;
const COLUMNS: [&str; 3] = ["cell_integer_id", "gene_integer_id", "value"];

/// The part to which a row belongs.
pub(crate) fn part_of(row: u64) -> u64 {
    row / PART_ROWS
}

/// The number of parts of a table with `rows` rows.
pub(crate) fn parts_of(rows: u64) -> u64 {
    rows.div_ceil(PART_ROWS)
}

/// The cells of a part.
pub(crate) struct ExpressionPart {
    /// Each run of rows of a cell: the cell, the number of rows, and their sum.
    pub(crate) cells: Vec<(i64, u64, Sum)>,
    pub(crate) genes: Vec<Sum>,
    /// The rows sorted by gene, if wanted.
    pub(crate) blocks: Vec<SortedBlock>,
    /// A gene that occurs more than once in a cell.
    pub(crate) repeated: Option<String>,
    /// The reason why the rest cannot be read.
    pub(crate) wrong: Option<String>,
}

impl ExpressionPart {
    /// Part `number` of `table`, which has `genes` genes; with `sorted`, its rows are
    /// also sorted by gene, with values of this type.
    pub(crate) async fn read(
        table: &Table,
        number: u64,
        genes: usize,
        sorted: Option<ValueType>,
    ) -> Result<Self> {
        let rows = number * PART_ROWS..((number + 1) * PART_ROWS).min(table.rows);
        let mut reader = Reader {
            table,
            rows,
            before: None,
            gene_ids: vec![],
            kept: vec![],
            sorted,
            part: Self {
                cells: vec![],
                genes: vec![Sum::default(); genes],
                blocks: vec![],
                repeated: None,
                wrong: None,
            },
        };
        match reader.read().await {
            Ok(()) => {}
            Err(Error::Corrupt { reason, .. }) => reader.part.wrong = Some(reason),
            Err(other) => return Err(other),
        }
        reader.finish()
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let cells = self.cells.iter();
        let ids = Int64Array::from_iter_values(cells.clone().map(|(id, ..)| *id));
        let rows = UInt64Array::from_iter_values(cells.clone().map(|(_, rows, _)| *rows));
        let sums: Vec<Sum> = cells.map(|(.., sum)| *sum).collect();
        let runs = RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as Arc<dyn Array>),
            ("rows", Arc::new(rows)),
        ])?;
        let blocks = self.blocks.iter();
        let firsts = UInt32Array::from_iter_values(blocks.clone().map(|b| b.first_row));
        let bytes = BinaryArray::from_iter_values(blocks.map(|b| &b.bytes));
        let blocks = RecordBatch::try_from_iter([
            ("first_row", Arc::new(firsts) as Arc<dyn Array>),
            ("bytes", Arc::new(bytes)),
        ])?;
        let said = [("repeated", &self.repeated), ("wrong", &self.wrong)];
        let said = said
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
        let said: HashMap<String, String> = said.collect();
        let schema = Schema::new_with_metadata(runs.schema().fields().clone(), said);
        let runs = runs.with_schema(Arc::new(schema))?;
        to_bytes(&[runs, packed(&sums)?, packed(&self.genes)?, blocks])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let batches = from_bytes(bytes)?;
        let [runs, cells, genes, blocks] = batches.as_slice() else {
            return Err(Error::Engine {
                message: "A part of a pass over X is incomplete.".into(),
            });
        };
        let ids = runs.column(0).as_primitive::<Int64Type>().values();
        let rows = runs.column(1).as_primitive::<UInt64Type>().values();
        let cells = ids.iter().zip(rows).zip(unpacked(cells));
        let firsts = blocks.column(0).as_primitive::<UInt32Type>().values();
        let sorted = firsts.iter().zip(blocks.column(1).as_binary::<i32>());
        let said = |key: &str| runs.schema_ref().metadata().get(key).cloned();
        Ok(Self {
            cells: cells.map(|((id, rows), sum)| (*id, *rows, sum)).collect(),
            genes: unpacked(genes),
            blocks: sorted
                .map(|(first_row, bytes)| SortedBlock {
                    first_row: *first_row,
                    bytes: bytes.unwrap_or_default().to_vec(),
                })
                .collect(),
            repeated: said("repeated"),
            wrong: said("wrong"),
        })
    }
}

/// Reads a part.
struct Reader<'a> {
    table: &'a Table,
    /// The rows in which its cells begin.
    rows: Range<u64>,
    /// The cell of the row before.
    before: Option<i64>,
    /// The genes of the last cell.
    gene_ids: Vec<i32>,
    /// The rows to be sorted by gene.
    kept: Vec<RecordBatch>,
    sorted: Option<ValueType>,
    part: ExpressionPart,
}

impl Reader<'_> {
    async fn read(&mut self) -> Result<()> {
        // Reading begins one row earlier, to know whether the first row continues a cell.
        let mut at = self.rows.start.saturating_sub(1);
        let mut to = self.rows.end;
        let mut goes_on = true;
        while goes_on && at < to {
            let mut batches = read_stream(self.table, &COLUMNS, vec![at..to])?;
            while goes_on && let Some(rows) = batches.next().await {
                let batch = rows?.batch;
                let read = batch.num_rows() as u64;
                goes_on = self.take(batch, at)?;
                at += read;
            }
            to = (at + MORE_ROWS).min(self.table.rows);
        }
        self.end_cell();
        Ok(())
    }

    /// Takes rows beginning with row `at`. Returns whether more can follow.
    fn take(&mut self, batch: RecordBatch, at: u64) -> Result<bool> {
        let ids = column::<i64>(batch.column(0))?;
        let (mut from, mut to) = (0, ids.len());
        if at < self.rows.start {
            self.before = Some(ids[0]);
            from = 1;
        }
        if self.part.cells.is_empty() {
            let same = |id: &&i64| Some(**id) == self.before;
            from += ids[from..].iter().take_while(same).count();
        }
        if at >= self.rows.end {
            let last = self.part.cells.last().map(|(id, ..)| *id);
            to = ids.iter().take_while(|id| Some(**id) == last).count();
        }
        if from < to {
            self.add(&batch.slice(from, to - from))?;
        }
        let is_at_end = at + ids.len() as u64 >= self.rows.end;
        Ok(to == ids.len() && !(is_at_end && self.part.cells.is_empty()))
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (ids, genes) = (
            column::<i64>(batch.column(0))?,
            column::<i32>(batch.column(1))?,
        );
        let values = column::<f64>(batch.column(2))?;
        let mut at = 0;
        for run in ids.chunk_by(|a, b| a == b) {
            let rows = at..at + run.len();
            at = rows.end;
            if self.part.cells.last().is_none_or(|(id, ..)| *id != run[0]) {
                self.end_cell();
                self.part.cells.push((run[0], 0, Sum::default()));
            }
            let Some((_, length, sum)) = self.part.cells.last_mut() else {
                continue;
            };
            *length += run.len() as u64;
            let width = self.part.genes.len();
            for (gene, value) in genes[rows.clone()].iter().zip(&values[rows.clone()]) {
                let Some(of_gene) = self.part.genes.get_mut(*gene as usize) else {
                    return Err(self
                        .table
                        .corrupt(format!("it holds gene {gene} of {width}")));
                };
                sum.add(*value);
                of_gene.add(*value);
            }
            self.gene_ids.extend_from_slice(&genes[rows]);
        }
        if self.sorted.is_some() {
            self.kept.push(batch.clone());
        }
        Ok(())
    }

    /// Checks the genes of the last cell.
    fn end_cell(&mut self) {
        let genes = &mut self.gene_ids;
        if genes.windows(2).any(|pair| pair[0] >= pair[1]) {
            genes.sort_unstable();
        }
        let same = genes.windows(2).find(|pair| pair[0] == pair[1]);
        if let (None, Some(pair), Some((cell, ..))) =
            (&self.part.repeated, same, self.part.cells.last())
        {
            self.part.repeated = Some(format!("cell {cell} has gene {} twice", pair[0]));
        }
        genes.clear();
    }

    /// The part, with the rows sorted if wanted.
    fn finish(mut self) -> Result<ExpressionPart> {
        let Some(first) = self.kept.first().filter(|_| self.part.wrong.is_none()) else {
            return Ok(self.part);
        };
        let rows = concat_batches(&first.schema(), &self.kept)?;
        let (ids, genes) = (
            column::<i64>(rows.column(0))?,
            column::<i32>(rows.column(1))?,
        );
        let cells: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let (values, width) = (rows.column(2), self.part.genes.len());
        self.part.blocks = match self.sorted {
            Some(ValueType::U16) => SortedBlock::of(width, &cells, &genes, &column::<u16>(values)?),
            Some(ValueType::F32) => SortedBlock::of(width, &cells, &genes, &column::<f32>(values)?),
            _ => SortedBlock::of(width, &cells, &genes, &column::<f64>(values)?),
        };
        Ok(self.part)
    }
}
