//! The NULLs of a value and of what is inside it, as arrays.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, MapArray, OffsetSizeTrait,
    StructArray, UInt64Array, make_comparator,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::kernels::nullif::nullif;
use datafusion::arrow::compute::{SortOptions, take};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

/// The values inside of others, NULL where those are. Nothing is copied where they are
/// so already.
pub(super) fn inside(values: ArrayRef, around: Option<&NullBuffer>) -> Result<ArrayRef> {
    match around {
        Some(around) if !is_null_where(&values, around) => {
            if values.data_type().is_nested() {
                let nulls = NullBuffer::union(values.nulls(), Some(around));
                return anew(&values, nulls);
            }
            let is_null = BooleanArray::new(!around.inner(), None);
            Ok(nullif(&values, &is_null)?)
        }
        _ => Ok(values),
    }
}

/// The value of a key in each map, for keys that are lists or structs; NULL where there is
/// none. DataFusion compares only the first key of all maps with those.
pub(super) fn of_nested_key(maps: &MapArray, key: &dyn Array) -> Result<ArrayRef> {
    let compare = make_comparator(maps.keys(), key, SortOptions::default())?;
    let value_of = |ends: &[i32]| {
        let mut keys = ends[0]..ends[1];
        keys.find(|&at| compare(at as usize, 0).is_eq())
    };
    let values = maps.value_offsets().windows(2).map(value_of);
    let values = Int32Array::from_iter(values);
    Ok(take(maps.values(), &values, None)?)
}

/// The same values, with nothing below those that are NULL: the fields of a struct are
/// NULL too, and a list or map has no elements.
pub(super) fn emptied(values: &ArrayRef) -> Result<ArrayRef> {
    match has_rests(values) {
        true => anew(values, values.nulls().cloned()),
        false => Ok(Arc::clone(values)),
    }
}

/// A struct whose fields are those of a type that differs in which of them can be NULL.
pub(super) fn of_type(values: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Struct(fields) if values.data_type() != data_type => {
            let (_, columns, nulls) = values.as_struct().clone().into_parts();
            let structs = StructArray::try_new(fields.clone(), columns, nulls)?;
            Ok(Arc::new(structs))
        }
        _ => Ok(values),
    }
}

/// Copies the rows that are not NULL, and nothing of those that are.
fn anew(values: &ArrayRef, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let rows = UInt64Array::new((0..values.len() as u64).collect(), nulls);
    Ok(take(values, &rows, None)?)
}

fn has_rests(values: &ArrayRef) -> bool {
    let Some(nulls) = values.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return false;
    };
    match values.data_type() {
        DataType::Struct(_) => {
            let fields = values.as_struct().columns();
            !fields.iter().all(|field| is_null_where(field, nulls))
        }
        DataType::List(_) => has_elements(values.as_list::<i32>().offsets(), nulls),
        DataType::LargeList(_) => has_elements(values.as_list::<i64>().offsets(), nulls),
        DataType::Map(..) => has_elements(values.as_map().offsets(), nulls),
        _ => false,
    }
}

fn has_elements<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    nulls: &NullBuffer,
) -> bool {
    let mut lists = offsets.windows(2).zip(nulls);
    lists.any(|(ends, is_valid)| !is_valid && ends[0] != ends[1])
}

/// Whether values are NULL wherever something else is.
fn is_null_where(values: &dyn Array, nulls: &NullBuffer) -> bool {
    let has_no_nulls = matches!(
        values.data_type(),
        // Arrow keeps the NULLs of these in what they are made of.
        DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..)
    );
    nulls.null_count() == 0
        || has_no_nulls
        || values.nulls().is_some_and(|own| own.contains(nulls))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, ListArray};
    use datafusion::arrow::datatypes::{Field, Int64Type};

    use super::*;

    fn nulls(valid: &[bool]) -> NullBuffer {
        NullBuffer::from(valid)
    }

    /// Two lists of which the second is NULL and has elements.
    fn list_with_rests() -> ArrayRef {
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let values = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let offsets = OffsetBuffer::from_lengths([1, 2]);
        Arc::new(ListArray::new(
            item,
            offsets,
            values,
            Some(nulls(&[true, false])),
        ))
    }

    #[test]
    fn a_value_inside_of_null_is_null() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let inside = inside(values, Some(&nulls(&[true, true, false]))).unwrap();
        let inside = inside.as_primitive::<Int64Type>();
        assert_eq!(inside, &Int64Array::from(vec![Some(1), None, None]));
    }

    #[test]
    fn a_list_inside_of_null_has_no_elements() {
        let values = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1)]),
            Some(vec![Some(2)]),
        ]);
        let inside = inside(Arc::new(values), Some(&nulls(&[true, false]))).unwrap();
        assert!(inside.is_null(1));
        assert_eq!(inside.as_list::<i32>().value_length(1), 0);
        assert_eq!(inside.as_list::<i32>().values().len(), 1);
    }

    #[test]
    fn what_is_null_already_is_not_copied() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let same = inside(Arc::clone(&values), Some(&nulls(&[true, false]))).unwrap();
        assert!(Arc::ptr_eq(&values, &same));
        let same = inside(Arc::clone(&values), Some(&nulls(&[true, true]))).unwrap();
        assert!(Arc::ptr_eq(&values, &same));
        let same = emptied(&values).unwrap();
        assert!(Arc::ptr_eq(&values, &same));
    }

    #[test]
    fn lists_that_are_null_lose_their_elements() {
        let emptied = emptied(&list_with_rests()).unwrap();
        assert_eq!(emptied.as_list::<i32>().value_length(0), 1);
        assert_eq!(emptied.as_list::<i32>().value_length(1), 0);
        assert!(emptied.is_null(1));
    }

    #[test]
    fn structs_that_are_null_lose_their_fields_values() {
        let field = Field::new("a", DataType::Int64, true);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1)]),
            Some(vec![Some(2)]),
        ]);
        let of_list = Field::new("l", list.data_type().clone(), true);
        let structs = StructArray::new(
            vec![field, of_list].into(),
            vec![values, Arc::new(list)],
            Some(nulls(&[false, true])),
        );
        let emptied = emptied(&(Arc::new(structs) as ArrayRef)).unwrap();
        let fields = emptied.as_struct();
        assert!(fields.is_null(0) && fields.column(0).is_null(0));
        assert!(fields.column(1).is_null(0));
        assert_eq!(fields.column(1).as_list::<i32>().value_length(0), 0);
        assert!(fields.is_valid(1) && fields.column(0).is_valid(1));
    }
}
