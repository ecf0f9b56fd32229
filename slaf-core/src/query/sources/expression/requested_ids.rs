//! The columns of `expression`, and the cells and genes that a query wants.

use arrow::buffer::BooleanBuffer;

use crate::Selection;

pub(crate) const CELL: &str = "cell_integer_id";
pub(crate) const GENE: &str = "gene_integer_id";
pub(crate) const VALUE: &str = "value";

/// The requested ids of an axis; `None` for all.
pub(crate) type Mask = Option<BooleanBuffer>;

/// The cells and genes whose values are requested.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) cells: Mask,
    pub(crate) genes: Mask,
}

impl Wanted {
    pub(crate) fn of(cells: &Selection, genes: &Selection, shape: (u64, u64)) -> Self {
        let mask = |selection: &Selection, len: u64| {
            (!selection.is_all(len)).then(|| {
                let mut wanted = vec![false; len as usize];
                selection.iter().for_each(|i| wanted[i as usize] = true);
                BooleanBuffer::from(wanted)
            })
        };
        Self {
            cells: mask(cells, shape.0),
            genes: mask(genes, shape.1),
        }
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            cells: both(&self.cells, &other.cells),
            genes: both(&self.genes, &other.genes),
        }
    }
}

pub(crate) fn both(a: &Mask, b: &Mask) -> Mask {
    match (a, b) {
        (Some(a), Some(b)) => Some(a & b),
        (one, None) | (None, one) => one.clone(),
    }
}
