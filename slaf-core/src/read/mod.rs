//! Matrices of an open dataset in memory, as CSR.

mod coordinate;
mod csr_assembly;
mod expression;
mod expression_by_gene;
