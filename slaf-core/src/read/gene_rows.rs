//! Rows of the gene-major copy as they arrive, gene by gene.

use std::ops::Range;

/// Splits batches of rows where genes begin, and adds up the differences between
/// cells.
pub(crate) struct GeneRows<N> {
    n_cells: u64,
    /// The genes whose rows come next, and how many they are.
    next: N,
    /// The current gene, how many of its rows are left, and the last cell.
    gene: usize,
    left: usize,
    cell: u64,
    cells: Vec<u32>,
}

impl<N: Iterator<Item = (usize, Range<u64>)>> GeneRows<N> {
    pub(crate) fn new(n_cells: u64, next: N) -> Self {
        Self {
            n_cells,
            next,
            gene: 0,
            left: 0,
            cell: 0,
            cells: vec![],
        }
    }

    /// Calls `take` with a gene, its cells, and their rows in the batch: once for
    /// each gene of the batch. The error describes what is wrong with the table.
    pub(crate) fn split(
        &mut self,
        gaps: &[u32],
        mut take: impl FnMut(usize, &[u32], Range<usize>),
    ) -> Result<(), String> {
        let mut at = 0;
        while at < gaps.len() {
            while self.left == 0 {
                let Some((gene, rows)) = self.next.next() else {
                    return Err("it has rows of no gene".into());
                };
                (self.gene, self.left, self.cell) = (gene, (rows.end - rows.start) as usize, 0);
            }
            let rows = at..gaps.len().min(at + self.left);
            self.cells.clear();
            let mut cell = self.cell;
            self.cells.extend(gaps[rows.clone()].iter().map(|gap| {
                cell += u64::from(*gap);
                cell as u32
            }));
            // Cells ascend, so only the last one has to be checked.
            if cell >= self.n_cells {
                return Err(format!("it holds cell {cell} of {}", self.n_cells));
            }
            take(self.gene, &self.cells, rows.clone());
            self.cell = cell;
            self.left -= rows.len();
            at = rows.end;
        }
        Ok(())
    }
}
