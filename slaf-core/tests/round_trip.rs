//! Random matrices through the writer and back through random selections,
//! against a plain dense computation.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use slaf_core::query::{self, Catalog};
use slaf_core::{
    Csr, Dataset, Error, Result, RowBlock, Selection, ValueType, Values, Writer, runtime,
};

type Dense = Vec<Vec<u16>>;

fn names(column: &str, n: usize) -> RecordBatch {
    let values = StringArray::from_iter_values((0..n).map(|i| format!("{column}-{i}")));
    let schema = Schema::new(vec![Field::new(column, DataType::Utf8, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap()
}

fn write(path: &std::path::Path, matrix: &Dense, genes: usize, block: usize) {
    let shape = (matrix.len() as u64, genes as u64);
    let mut writer = Writer::create(path, shape, ValueType::U16, false).unwrap();
    for rows in matrix.chunks(block) {
        let (mut indptr, mut indices, mut data) = (vec![0], vec![], vec![]);
        for row in rows {
            let stored = row.iter().enumerate().filter(|(_, v)| **v > 0);
            for (gene, value) in stored {
                indices.push(gene as i64);
                data.push(*value);
            }
            indptr.push(indices.len() as i64);
        }
        let data = Values::U16(data);
        let block = RowBlock {
            indptr: &indptr,
            indices: &indices,
            data: &data,
        };
        writer.append(&block).unwrap();
    }
    let (cells, genes) = (names("cell_id", matrix.len()), names("gene_id", genes));
    writer.finish(cells, genes, serde_json::Map::new()).unwrap();
}

fn wait<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> T {
    runtime::wait(work, || false).unwrap()
}

fn to_dense(csr: &Csr) -> Dense {
    let Values::U16(data) = &csr.data else {
        panic!("asked for uint16");
    };
    let mut out = vec![vec![0; csr.shape.1]; csr.shape.0];
    for (row, span) in csr.indptr.windows(2).enumerate() {
        let span = span[0] as usize..span[1] as usize;
        assert!(csr.indices[span.clone()].is_sorted());
        for at in span {
            out[row][csr.indices[at] as usize] += data[at];
        }
    }
    out
}

fn selection(len: usize) -> impl Strategy<Value = Selection> {
    let list = prop::collection::vec(0..len as u64, 0..2 * len).prop_map(Selection::List);
    let range = (0..=len, 0..=len).prop_map(|(a, b)| Selection::Range {
        start: a.min(b) as u64,
        step: 1,
        len: a.abs_diff(b) as u64,
    });
    let back = (0..len).prop_map(|last| Selection::Range {
        start: last as u64,
        step: -1,
        len: last as u64 + 1,
    });
    prop_oneof![list, range, back]
}

fn case() -> impl Strategy<Value = (Dense, usize, usize, Selection, Selection)> {
    (1..25usize, 1..15usize).prop_flat_map(|(cells, genes)| {
        let value = prop_oneof![3 => Just(0u16), 1 => 1..u16::MAX];
        let matrix = prop::collection::vec(prop::collection::vec(value, genes), cells);
        (
            matrix,
            Just(genes),
            1..=cells,
            selection(cells),
            selection(genes),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_selection_of_any_matrix((matrix, genes, block, rows, columns) in case()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.slaf");
        write(&path, &matrix, genes, block);
        let dataset = wait(async move { Dataset::open(path.to_str().unwrap()).await });
        let want: Dense = rows.iter()
            .map(|r| columns.iter().map(|c| matrix[r as usize][c as usize]).collect())
            .collect();
        let asked = dataset.clone();
        let csr = wait(async move { asked.csr(&rows, &columns, ValueType::U16).await });
        prop_assert_eq!(to_dense(&csr), want);
        let total: u64 = matrix.iter().flatten().map(|v| u64::from(*v)).sum();
        let sql = "SELECT CAST(COALESCE(SUM(value), 0) AS BIGINT) AS s FROM expression";
        let answer = wait(query::run(Catalog::of(dataset), sql, None));
        let sum = arrow::util::display::array_value_to_string(answer.batches[0].column(0), 0).unwrap();
        prop_assert_eq!(sum, total.to_string());
    }
}

#[test]
fn a_value_that_does_not_fit_is_named_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.slaf");
    let mut writer = Writer::create(&path, (2, 3), ValueType::U16, false).unwrap();
    let data = Values::F32(vec![1.0, 70_000.0]);
    let block = RowBlock {
        indptr: &[0, 1, 2],
        indices: &[0, 2],
        data: &data,
    };
    let error = writer.append(&block).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cell 1, gene 2 holds 70000, which uint16 cannot hold exactly."
    );
    drop(writer);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn an_interrupt_ends_the_wait() {
    let forever = async {
        std::future::pending::<()>().await;
        Ok(())
    };
    assert!(matches!(
        runtime::wait(forever, || true),
        Err(Error::Interrupted)
    ));
}
