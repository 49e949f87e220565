//! Where in the data a row is that cannot be used.
//!
//! A scan is spread over threads and leaves test rows out, so that it does not know the
//! numbers that rows have in their file. Where one is asked for, the data is read once
//! more, in order.

use std::pin::pin;
use std::sync::Arc;

use atoll_compute::{CancellationToken, pool};
use atoll_udf_common::args::string_at;
use atoll_udf_common::tables::rows_in_order;
use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use futures::{StreamExt, TryStreamExt};

use super::{DatasetSource, Wanted, column_expr, pieces};
use crate::dataset::{Reader, Split};

/// Finds a bad row in a piece of the wanted rows.
pub(super) type IsBad = Arc<dyn Fn(&Reader, &RecordBatch) -> Option<usize> + Send + Sync>;

/// The number of the first bad row, counted from 1; none if there is none any more.
pub(super) async fn find(
    source: &DatasetSource,
    wanted: Wanted,
    token: &CancellationToken,
    is_bad: &IsBad,
) -> Option<u64> {
    // Without a split column every row is wanted.
    let only = source.has_split().then_some(wanted);
    let mut before = 0;
    let frame = source.frame.clone();
    let frame = frame.select(source.columns().map(column_expr)).ok()?;
    let found = rows_in_order(frame)
        .await
        .ok()?
        .map_ok(|batch| pieces(&batch))
        .try_flatten()
        .map(|piece| {
            let (reader, is_bad) = (source.reader.clone(), Arc::clone(is_bad));
            let token = token.clone();
            async move {
                let piece = piece.ok()?;
                let count = piece.num_rows() as u64;
                let look = move || look(&piece, &reader, only, &is_bad);
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
    None
}

/// The place of the first bad row in a piece.
fn look(
    piece: &RecordBatch,
    reader: &Reader,
    only: Option<Wanted>,
    is_bad: &IsBad,
) -> Result<Option<u32>> {
    let kept = kept(piece, only)?;
    let rows = take_record_batch(piece, &UInt32Array::from(kept.clone()))?;
    let bad = is_bad(reader, &rows);
    Ok(bad.and_then(|bad| kept.get(bad).copied()))
}

/// The rows of a piece that are wanted: all, or some by their split.
fn kept(piece: &RecordBatch, only: Option<Wanted>) -> Result<Vec<u32>> {
    let rows = 0..piece.num_rows() as u32;
    let Some(wanted) = only else {
        return Ok(rows.collect());
    };
    let split = cast(piece.column(piece.num_columns() - 1), &DataType::Utf8)?;
    let name = |row: &u32| string_at(&split, *row as usize);
    let is_wanted = |row: &u32| match wanted {
        Wanted::All => true,
        Wanted::Only(only) => name(row) == Some(only.name()),
        Wanted::NotTest => name(row) != Some(Split::Test.name()),
    };
    Ok(rows.filter(is_wanted).collect())
}
