//! Writes random matrices and reads random selections of them back, compared
//! with a simple dense computation.

// Clippy knows as tests only functions with `#[test]`.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchIterator, RecordBatchReader, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use slaf_core::query::{self, Catalog, Options, Params};
use slaf_core::upkeep::{self, Indexing, repair, validate};
use slaf_core::{
    Csr, Dataset, Error, Indices, Place, Progress, Result, RowBlock, Selection, ValueType, Values,
    ValuesRef, WritePlan, Writer, runtime,
};

type Dense = Vec<Vec<u16>>;

fn names(column: &str, n: usize) -> RecordBatch {
    let values = StringArray::from_iter_values((0..n).map(|i| format!("{column}-{i}")));
    let schema = Schema::new(vec![Field::new(column, DataType::Utf8, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap()
}

fn begin(uri: &str, shape: (u64, u64), fragment_rows: Option<usize>) -> Writer {
    let plan = WritePlan {
        shape,
        value_type: ValueType::U16,
        counts: false,
        by_gene: true,
        overwrite: false,
        fragment_rows,
        source: None,
    };
    let uri = uri.to_owned();
    wait(async move { Writer::create(Place::new(&uri, HashMap::new()).await?, plan).await })
}

fn write(uri: &str, matrix: &Dense, genes: usize, block: usize) {
    let shape = (matrix.len() as u64, genes as u64);
    let writer = begin(uri, shape, Some(8));
    feed(writer, matrix, 0, genes, block);
}

/// Gives the writer all rows, and names from `first` on.
fn feed(mut writer: Writer, matrix: &Dense, first: usize, genes: usize, block: usize) {
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
        let block = RowBlock {
            indptr: &indptr,
            indices: Indices::I64(&indices),
            data: ValuesRef::U16(&data),
        };
        writer.append(&block).unwrap();
    }
    let cells = names("cell_id", first + matrix.len());
    let genes = names("gene_id", genes);
    wait(async move {
        let none = serde_json::Map::new();
        writer
            .finish(reader(cells), reader(genes), none, &Progress::default())
            .await
    });
}

fn reader(batch: RecordBatch) -> Box<dyn RecordBatchReader + Send> {
    let schema = batch.schema();
    Box::new(RecordBatchIterator::new([Ok(batch)], schema))
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
        write(path.to_str().unwrap(), &matrix, genes, block);
        let dataset = wait(async move { Dataset::open(path.to_str().unwrap()).await });
        let want: Dense = rows.iter()
            .map(|r| columns.iter().map(|c| matrix[r as usize][c as usize]).collect())
            .collect();
        let asked = dataset.clone();
        let csr = wait(async move { asked.csr(&rows, &columns, ValueType::U16).await });
        prop_assert_eq!(to_dense(&csr), want);
        let total: u64 = matrix.iter().flatten().map(|v| u64::from(*v)).sum();
        let sql = "SELECT CAST(COALESCE(SUM(value), 0) AS BIGINT) AS s FROM expression";
        let answer = wait(async move {
            let (params, options) = (Params::new(), Options::default());
            query::run(&Catalog::of(dataset), sql, &params, &options).await
        });
        let sum = arrow::util::display::array_value_to_string(answer.batches[0].column(0), 0).unwrap();
        prop_assert_eq!(sum, total.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn an_append_is_a_version_of_its_own((matrix, genes, block, _, _) in case(), cut in 0..25usize) {
        let uri = format!("memory://append/{}", uuid());
        let (old, new) = matrix.split_at(cut.min(matrix.len()));
        write(&uri, &old.to_vec(), genes, block);
        let open = |version| {
            let uri = uri.clone();
            wait(async move {
                Dataset::open_at(Place::new(&uri, HashMap::new()).await?, version).await
            })
        };
        let before = open(None);
        let shape = (matrix.len() as u64, genes as u64);
        let base = before.clone();
        let writer = wait(async move { Writer::append_to(&base, shape, true).await });
        feed(writer, &new.to_vec(), old.len(), genes, block);

        let whole = |dataset: Dataset| {
            let (rows, columns) = (Selection::all(dataset.shape().0), Selection::all(dataset.shape().1));
            to_dense(&wait(async move { dataset.csr(&rows, &columns, ValueType::U16).await }))
        };
        prop_assert_eq!(whole(open(None)), matrix.clone());
        prop_assert_eq!(whole(before), old.to_vec());
        prop_assert_eq!(whole(open(Some(1))), old.to_vec());
        let checked = open(None);
        let checks = wait(async move { validate(&checked).await });
        prop_assert!(checks.iter().all(|c| c.problem.is_none()), "{checks:?}");
        // Every gene by itself, which the gene-major copy answers.
        let genes_of = open(None);
        for gene in 0..genes {
            let asked = genes_of.clone();
            let rows = Selection::List((0..matrix.len() as u64).rev().step_by(2).collect());
            let want: Dense = rows.iter().map(|r| vec![matrix[r as usize][gene]]).collect();
            let csr = wait(async move {
                asked.csr(&rows, &Selection::List(vec![gene as u64]), ValueType::U16).await
            });
            prop_assert_eq!(to_dense(&csr), want);
        }
    }
}

fn uuid() -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        .to_string()
}

#[test]
fn versions_are_listed_made_and_removed() {
    let uri = "memory://versions/x.slaf";
    write(uri, &vec![vec![1, 0], vec![0, 2]], 2, 1);
    let place = wait(async { Place::new(uri, HashMap::new()).await });
    let here = place.clone();
    let dataset = wait(async move { Dataset::open_at(here, None).await });
    let indexed = dataset.clone();
    wait(async move {
        let mut indexing = Indexing::of(&indexed, false)?;
        indexing.replay(&Progress::default()).await?;
        indexing.publish(&Progress::default()).await
    });
    let repaired = wait(async move { repair(&dataset, &Progress::default()).await });
    assert_eq!(repaired, None);

    let here = place.clone();
    let history = wait(async move { upkeep::history(&here).await });
    let told: Vec<_> = history
        .iter()
        .map(|m| (m.version, m.operation.as_str()))
        .collect();
    assert_eq!(told, [(2, "index"), (1, "convert")]);

    let here = place.clone();
    let done = wait(async move { upkeep::vacuum(&here, 1, &Progress::default()).await });
    assert_eq!(done.versions, [1]);
    let gone = runtime::wait(
        async move { Dataset::open_at(place, Some(1)).await },
        || false,
    );
    assert_eq!(
        gone.unwrap_err().to_string(),
        "`memory://versions/x.slaf` has no version 1."
    );
}

#[test]
fn a_value_that_does_not_fit_is_named_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.slaf");
    let mut writer = begin(path.to_str().unwrap(), (2, 3), None);
    let block = RowBlock {
        indptr: &[0, 1, 2],
        indices: Indices::I64(&[0, 2]),
        data: ValuesRef::F32(&[1.0, 70_000.0]),
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
