//! The ranges of the wanted rows of `expression`, and how they are divided among
//! cores.

use std::ops::Range;
use std::sync::Arc;

use crate::table::row_ranges::first_of;

/// The rows to read, in one of the two copies.
#[derive(Debug, Clone)]
pub(crate) enum RowPath {
    /// In `expression`, sorted by cell.
    ByCell {
        rows: Vec<Range<u64>>,
        starts: Arc<[u64]>,
    },
    /// In the gene-major copy.
    ByGene { genes: Vec<(u32, Range<u64>)> },
}

impl RowPath {
    /// The number of rows to read.
    pub(crate) fn rows(&self) -> u64 {
        let len = |rows: &Range<u64>| rows.end - rows.start;
        match self {
            Self::ByCell { rows, .. } => rows.iter().map(len).sum(),
            Self::ByGene { genes } => genes.iter().map(|(_, rows)| len(rows)).sum(),
        }
    }

    /// The first `n` rows in the order of cells.
    pub(crate) fn first(self, n: u64) -> Self {
        match self {
            Self::ByCell { rows, starts } => Self::ByCell {
                rows: first_of(&mut rows.into(), n),
                starts,
            },
            by_gene @ Self::ByGene { .. } => by_gene,
        }
    }

    /// Splits into parts of about the same size, each in order.
    pub(crate) fn split(self, parts: usize) -> Vec<Self> {
        let each = self.rows().div_ceil(parts.max(1) as u64).max(1 << 16);
        let (mut done, mut room) = (vec![], each);
        match self {
            Self::ByCell { rows, starts } => {
                let mut part = vec![];
                let mut end = |part: &mut Vec<Range<u64>>| {
                    let rows = std::mem::take(part);
                    done.push(Self::ByCell {
                        rows,
                        starts: Arc::clone(&starts),
                    });
                };
                for mut range in rows {
                    while range.end - range.start > room {
                        let cut = range.start + room;
                        part.push(range.start..cut);
                        end(&mut part);
                        (range.start, room) = (cut, each);
                    }
                    room -= range.end - range.start;
                    part.push(range);
                }
                if !part.is_empty() {
                    end(&mut part);
                }
            }
            // A gene is not split, because its cells are stored as differences from its
            // first row on.
            Self::ByGene { genes } => {
                let mut part = vec![];
                for (gene, rows) in genes {
                    let len = rows.end - rows.start;
                    part.push((gene, rows));
                    if len >= room {
                        done.push(Self::ByGene {
                            genes: std::mem::take(&mut part),
                        });
                        room = each;
                    } else {
                        room -= len;
                    }
                }
                if !part.is_empty() {
                    done.push(Self::ByGene { genes: part });
                }
            }
        }
        done
    }
}
