//! The tables that hold several matrices in coordinate (COO) form, one column per
//! matrix: `layers` (cells × genes), `cellsxcells` (obsp) and `genesxgenes` (varp).
//! slafdb guarantees no order of their rows.

/// The three coordinate tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinateTable {
    Layers,
    Obsp,
    Varp,
}

impl CoordinateTable {
    pub fn table(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Obsp => "cellsxcells",
            Self::Varp => "genesxgenes",
        }
    }

    pub(crate) fn ids(self) -> [&'static str; 2] {
        match self {
            Self::Layers => ["cell_integer_id", "gene_integer_id"],
            Self::Obsp => ["cell_integer_id_i", "cell_integer_id_j"],
            Self::Varp => ["gene_integer_id_i", "gene_integer_id_j"],
        }
    }

    /// The value at a position where this matrix has none but another matrix of
    /// the table has one: NULL in `layers`, zero in the other two, as in
    /// slafdb.
    pub(crate) fn absent(self) -> Option<f64> {
        match self {
            Self::Layers => None,
            Self::Obsp | Self::Varp => Some(0.0),
        }
    }
}
