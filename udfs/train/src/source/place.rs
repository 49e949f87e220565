//! Where in the data a row is that cannot be used.
//!
//! A scan is spread over threads and leaves test rows out, so that it does not know the
//! numbers that rows have in their file. Where one is asked for, the data is read once
//! more, in order.

use std::pin::pin;
use std::sync::Arc;

use atoll_compute::{CancellationToken, pool};
use atoll_udf_common::args::string_at;
use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt};

use super::{Source, Wanted, column_expr, pieces};
use crate::rows::{Format, Part};

/// Finds a bad row in a piece of the wanted rows.
pub(super) type IsBad = Arc<dyn Fn(&Format, &RecordBatch) -> Option<usize> + Send + Sync>;

/// The number of the first bad row, counted from 1; none if there is none any more.
pub(super) async fn find(
    source: &Source,
    wanted: Wanted,
    token: &CancellationToken,
    is_bad: &IsBad,
) -> Option<u64> {
    let mut before = 0;
    for stream in in_order(source).await.ok()? {
        let found = stream
            .map_ok(|batch| pieces(&batch))
            .try_flatten()
            .map(|piece| {
                let (format, is_bad) = (source.format.clone(), Arc::clone(is_bad));
                let has_split = source.has_split();
                let token = token.clone();
                async move {
                    let piece = piece.ok()?;
                    let count = piece.num_rows() as u64;
                    let look =
                        move || look(&piece, &format, (wanted, has_split), &is_bad);
                    let row = pool::run(&token, look).await.ok()?.ok()?;
                    Some((count, row))
                }
            })
            .buffered(2 * pool::threads());
        let mut found = pin!(found);
        while let Some(piece) = found.next().await {
            match piece? {
                (_, Some(row)) => return Some(before + u64::from(row) + 1),
                (count, None) => before += count,
            }
        }
    }
    None
}

/// The partitions of the data, each in the order of its file.
async fn in_order(source: &Source) -> Result<Vec<SendableRecordBatchStream>> {
    let frame = source.frame.clone();
    let frame = frame.select(source.columns().map(column_expr))?;
    let (mut state, plan) = frame.into_parts();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    DataFrame::new(state, plan)
        .execute_stream_partitioned()
        .await
}

/// The place of the first bad row in a piece.
fn look(
    piece: &RecordBatch,
    format: &Format,
    (wanted, has_split): (Wanted, bool),
    is_bad: &IsBad,
) -> Result<Option<u32>> {
    let kept = kept(piece, wanted, has_split)?;
    let rows = take_record_batch(piece, &UInt32Array::from(kept.clone()))?;
    let bad = is_bad(format, &rows);
    Ok(bad.and_then(|bad| kept.get(bad).copied()))
}

/// The rows of a piece that are wanted.
fn kept(piece: &RecordBatch, wanted: Wanted, has_split: bool) -> Result<Vec<u32>> {
    let rows = 0..piece.num_rows() as u32;
    if !has_split {
        return Ok(rows.collect());
    }
    let split = cast(piece.column(piece.num_columns() - 1), &DataType::Utf8)?;
    let part = |row: &u32| string_at(&split, *row as usize);
    let is_wanted = |row: &u32| match wanted {
        Wanted::All => true,
        Wanted::Only(only) => part(row) == Some(only.name()),
        Wanted::NotTest => part(row) != Some(Part::Test.name()),
    };
    Ok(rows.filter(is_wanted).collect())
}
