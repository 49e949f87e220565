//! The rows of a table: their names, and what is compared.

use std::sync::Arc;

use atoll_near::Vectors;
use atoll_udf_common::Erased;
use atoll_udf_common::tables::{rows_in_order, table_hint, table_named};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_empty_array,
};
use datafusion::arrow::compute::{cast, concat, filter};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Int64Type, UInt64Type};
use datafusion::common::{Column, Result, exec_err, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

/// The table of a call, and which of its columns are read.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) function: &'static str,
    pub(crate) table: String,
    pub(crate) id: Option<String>,
    pub(crate) id_type: DataType,
    /// What is compared.
    pub(crate) value: String,
}

/// What names rows, in their order, and what they have.
pub(crate) struct Named<T> {
    pub(crate) ids: ArrayRef,
    pub(crate) values: T,
}

impl Rows {
    /// The columns that are read, of the table as it is now.
    pub(crate) async fn open(
        &self,
        state: &Erased<SessionState>,
    ) -> Result<Erased<DataFrame>> {
        let ctx = SessionContext::new_with_state((**state).clone());
        let (function, name) = (self.function, &self.table);
        let Some(table) = table_named(&ctx, name).await else {
            let hint = table_hint(state, name);
            return plan_err!(
                "{function}: no table, view or file is called '{name}'; {hint}"
            );
        };
        let frame = ctx.read_table(table)?;
        let columns = self.id.iter().chain([&self.value]);
        let columns = columns.map(|name| Expr::Column(Column::from_name(name)));
        Ok(Erased::new(frame.select(columns.collect::<Vec<_>>())?))
    }

    /// Reads vectors. `memory` grows with them.
    pub(crate) async fn vectors(
        &self,
        frame: &Erased<DataFrame>,
        memory: &MemoryReservation,
    ) -> Result<Named<Vectors>> {
        let mut vectors = Vectors::default();
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let ids = self.read(frame, |before, values| {
            let lists = cast(values, &DataType::List(Arc::clone(&item)))?;
            let bytes = lists.get_array_memory_size();
            memory.try_grow(bytes)?;
            for (at, list) in lists.as_list::<i32>().iter().enumerate() {
                let Some(list) = list else { continue };
                let number = before + at + 1;
                if list.null_count() > 0 {
                    return exec_err!(
                        "{}: the vector of row {number} of {} has NULL in it; leave the row \
                         out",
                        self.function,
                        self.table
                    );
                }
                let list = list.as_primitive::<Float32Type>();
                if let Err(error) = vectors.push(list.values()) {
                    return exec_err!(
                        "{}: the vector of row {number} of {} {error}",
                        self.function,
                        self.table
                    );
                }
            }
            Ok(())
        });
        let ids = ids.await?;
        Ok(Named {
            ids,
            values: vectors,
        })
    }

    /// Reads hashes.
    pub(crate) async fn hashes(
        &self,
        frame: &Erased<DataFrame>,
    ) -> Result<Named<Vec<u64>>> {
        let mut hashes = vec![];
        let ids = self.read(frame, |_, values| {
            match values.data_type() {
                DataType::UInt64 => {
                    let values = values.as_primitive::<UInt64Type>();
                    hashes.extend(values.iter().flatten());
                }
                _ => {
                    let values = cast(values, &DataType::Int64)?;
                    let values = values.as_primitive::<Int64Type>();
                    hashes.extend(values.iter().flatten().map(i64::cast_unsigned));
                }
            }
            Ok(())
        });
        let ids = ids.await?;
        Ok(Named {
            ids,
            values: hashes,
        })
    }

    /// Shows `take` the values, with the number of rows before, and returns the names of the
    /// rows that have a value.
    async fn read(
        &self,
        frame: &Erased<DataFrame>,
        mut take: impl FnMut(usize, &ArrayRef) -> Result<()>,
    ) -> Result<ArrayRef> {
        let mut ids: Vec<ArrayRef> = vec![];
        let mut before = 0;
        let rows = rows_in_order((**frame).clone()).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(batch) = rows.try_next().await? {
            let values = batch.column(batch.num_columns() - 1);
            take(before, values)?;
            let is_there: BooleanArray = (0..values.len())
                .map(|row| Some(values.is_valid(row)))
                .collect();
            ids.push(filter(&self.ids(&batch, before)?, &is_there)?);
            before += batch.num_rows();
        }
        let ids: Vec<&dyn Array> = ids.iter().map(AsRef::as_ref).collect();
        match ids.is_empty() {
            true => Ok(new_empty_array(&self.id_type)),
            false => Ok(concat(&ids)?),
        }
    }

    fn ids(&self, batch: &RecordBatch, before: usize) -> Result<ArrayRef> {
        let Some(id) = &self.id else {
            let numbers = before as i64 + 1..=(before + batch.num_rows()) as i64;
            return Ok(Arc::new(Int64Array::from_iter_values(numbers)));
        };
        let ids = batch.column(0);
        // The table may have become another one since the statement was planned.
        if ids.data_type() == &self.id_type {
            return Ok(Arc::clone(ids));
        }
        match cast(ids, &self.id_type) {
            Ok(ids) => Ok(ids),
            Err(_) => exec_err!(
                "{}: column {id} of {} has {}, it had {} when the statement was planned",
                self.function,
                self.table,
                ids.data_type(),
                self.id_type
            ),
        }
    }
}
