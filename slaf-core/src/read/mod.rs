//! Reads matrices of an open dataset into memory, as CSR.

mod coordinate;
mod csr_assembly;
mod expression;
mod expression_by_gene;
pub(crate) mod gene_rows;
