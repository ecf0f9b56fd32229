//! Starts a writer: for a new dataset, or for more cells of an existing one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::checkpoint::Checkpoint;
use super::encoder::{self, EXPRESSION, Encoder};
use super::expression_stats::{ExpressionStats, StatsThread, writable};
use super::lance_rows::packed;
use super::staging::{clear, lock};
use super::write_plan::WritePlan;
use super::writer::Writer;
use crate::{Dataset, Error, Place, Progress, Result, Table, ValueType};

impl Writer {
    /// Starts a dataset at `target`.
    pub async fn create(target: Place, plan: WritePlan) -> Result<Self> {
        check_target(&target, &plan).await?;
        let place = target.staging()?;
        let lock = lock(&place)?;
        let resumed = match (&plan.source, Checkpoint::read(&place).await?) {
            (Some(source), Some(found))
                if found.source == *source && found.shape == plan.shape && found.cells > 0 =>
            {
                Some(found)
            }
            _ => None,
        };
        let mut plan = plan;
        if let Some(found) = &resumed {
            plan.value_type = ValueType::from_numpy(&found.value_type).unwrap_or(plan.value_type);
        } else {
            clear(&place).await?;
        }
        let schema = expression_schema(&plan);
        let mut stats = ExpressionStats::of_plan(&place, &plan)?;
        let mut base = None;
        if let Some(found) = &resumed {
            encoder::commit(&place, &schema, None, found.fragments.clone()).await?;
            let table = Table::open("expression", EXPRESSION.into(), None, place.clone()).await?;
            stats
                .replay(&table, found.cells, &Progress::default())
                .await?;
            base = Some(table);
        }
        let fresh = || Checkpoint {
            source: plan.source.clone().unwrap_or_default(),
            shape: plan.shape,
            value_type: plan.value_type.numpy_name().to_owned(),
            cells: 0,
            fragments: vec![],
        };
        let checkpoint = plan.source.is_some().then(|| resumed.unwrap_or_else(fresh));
        let lance = base.as_ref().map(|table: &Table| Arc::clone(&table.lance));
        let encoder = Encoder::start(&place, &schema, lance, checkpoint);
        Ok(Self {
            place,
            target: Some(target),
            plan,
            schema,
            encoder: Some(encoder),
            cells: stats.n_cells(),
            stats: Some(StatsThread::start(stats)),
            base,
            pending: 0,
            old: None,
            tables: BTreeMap::new(),
            keep: false,
            _lock: lock,
        })
    }

    /// Starts a new version of `dataset` with more cells; `shape` is the shape
    /// with them. New genes come after the old ones.
    pub async fn append_to(dataset: &Dataset, shape: (u64, u64), by_gene: bool) -> Result<Self> {
        let expression = dataset.expression.clone();
        let field = |name: &str| -> Result<Field> {
            let stored = expression.schema.field_with_name(name)?;
            Ok(packed(
                name,
                stored.data_type().clone(),
                stored.is_nullable(),
            ))
        };
        let schema = Arc::new(Schema::new(vec![
            field("cell_integer_id")?,
            field("gene_integer_id")?,
            field("value")?,
        ]));
        if expression.schema.fields().len() != schema.fields().len() {
            return Err(Error::Engine {
                message: format!(
                    "`{}` stores the ids as text in every row, and cannot be appended to. \
                     Convert it first: `slaf convert old.slaf new.slaf`.",
                    dataset.place.uri()
                ),
            });
        }
        let plan = WritePlan {
            shape,
            value_type: writable(schema.field(2).data_type())?,
            counts: false,
            by_gene,
            overwrite: false,
            fragment_rows: None,
            source: None,
        };
        if *schema.field(1).data_type() == DataType::UInt16 && shape.1 > 1 << 16 {
            return Err(Error::Engine {
                message: format!(
                    "`{}` numbers its genes with 16 bits, and {} are too many. Convert all files \
                     together instead.",
                    dataset.place.uri(),
                    shape.1
                ),
            });
        }
        let mut stats = ExpressionStats::of_plan(&dataset.place, &plan)?;
        stats
            .replay(&expression, dataset.shape().0, &Progress::default())
            .await?;
        let place = dataset.place.clone();
        let encoder = Encoder::start(&place, &schema, Some(Arc::clone(&expression.lance)), None);
        let config = dataset.config.as_json().clone();
        let parent = dataset.config.manifest().map(|m| m.version);
        Ok(Self {
            place,
            target: None,
            plan,
            schema,
            encoder: Some(encoder),
            cells: stats.n_cells(),
            stats: Some(StatsThread::start(stats)),
            base: Some(expression),
            pending: 0,
            old: Some((config, parent)),
            tables: BTreeMap::new(),
            keep: false,
            _lock: None,
        })
    }
}

async fn check_target(target: &Place, plan: &WritePlan) -> Result<()> {
    if target.local().is_some_and(|path| path.is_file()) {
        return Err(Error::NotSlaf {
            path: target.uri().to_owned(),
            reason: "it is a file, and a dataset is a folder".into(),
        });
    }
    if !plan.overwrite && target.occupied().await? {
        return Err(Error::Exists {
            path: target.uri().to_owned(),
        });
    }
    if plan.overwrite && target.holds_other_files() {
        return Err(Error::NotOurs {
            path: target.uri().to_owned(),
        });
    }
    Ok(())
}

fn expression_schema(plan: &WritePlan) -> SchemaRef {
    let gene_type = match plan.shape.1 <= 1 << 16 {
        true => DataType::UInt16,
        false => DataType::Int32,
    };
    Arc::new(Schema::new(vec![
        packed("cell_integer_id", DataType::UInt32, false),
        packed("gene_integer_id", gene_type, false),
        packed("value", plan.value_type.arrow(), false),
    ]))
}
