//! `hp_choice`: one of the elements of a list.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, ListArray, UInt32Array, new_null_array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::as_list_array;
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;
use crate::domain::{choices, coerce_either, domain_type};
use crate::sampler::{
    Argument, Draws, Kind, NAME, SEED, TRIAL, at_plan_time, into_arrays, literal,
};

const ARGUMENTS: [Argument; 4] = [SEED, TRIAL, NAME, ("list", Kind::List)];

/// What a domain is spanned by.
const DOMAIN: [Argument; 1] = [("list", Kind::Choices)];

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Draws one element of a list, every element equally likely. The same seed, trial \
         and name give the same element everywhere. \
         `hp_choice(list)` without them is a domain for `tune`, whose elements may have \
         different types, and be structs with domains of their own.",
        "hp_choice(seed, trial, name, list)",
    )
    .with_argument(
        "seed",
        "Integer that names the study. Another seed is another search.",
    )
    .with_argument("trial", "Integer that names the trial, such as its number.")
    .with_argument("name", "Name of the hyperparameter, one per trial.")
    .with_argument("list", "The elements to choose from, at least one.")
    .with_sql_example(
        "SELECT trial, hp_choice(42, trial, 'optimizer', ['sgd', 'adam']) AS optimizer\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
    .with_related_udf("hp_int")
    .with_related_udf("hp_uniform")
    .with_related_udf("tune")
    .build()
});

/// The SQL function `hp_choice(seed, trial, name, list)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HpChoice {
    signature: Signature,
}

impl Default for HpChoice {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for HpChoice {
    fn name(&self) -> &str {
        "hp_choice"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce_either(self.name(), &ARGUMENTS, (&DOMAIN, 1), arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if arg_types.len() <= DOMAIN.len() {
            return Ok(domain_type());
        }
        match arg_types.last() {
            Some(
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::FixedSizeList(item, _),
            ) => Ok(item.data_type().clone()),
            _ => Ok(DataType::Null),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(ScalarValue::List(list)) = literal(&args, 3) {
            let empty = list.is_valid(0) && list.value_length(0) == 0;
            at_plan_time(if empty {
                Err(EMPTY.to_string())
            } else {
                Ok(())
            })?;
        }
        let types: Vec<_> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        Ok(Arc::new(Field::new(
            self.name(),
            self.return_type(&types)?,
            true,
        )))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() <= DOMAIN.len()
            && let Some(list) = args.args.pop()
        {
            return choices(self.name(), list);
        }
        let rows = args.number_rows;
        let [seed, trial, name, list] =
            take_function_args(self.name(), into_arrays(args)?)?;
        // An untyped NULL has no elements to choose from, whatever the draw.
        if list.data_type().is_null() {
            return Ok(ColumnarValue::Array(new_null_array(&DataType::Null, rows)));
        }
        let draws = Draws::try_new(&seed, &trial, &name)?;
        Ok(ColumnarValue::Array(choice_rows(
            &draws,
            as_list_array(&list)?,
        )?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

const EMPTY: &str = "hp_choice: list must have at least one element, got []";

/// The chosen element of each row's list; NULL for a NULL argument or element.
fn choice_rows(draws: &Draws<'_>, lists: &ListArray) -> Result<ArrayRef> {
    let chosen: UInt32Array = draws
        .iter()
        .enumerate()
        .map(|(row, draw)| {
            let (Some(draw), true) = (draw, lists.is_valid(row)) else {
                return Ok(None);
            };
            let Ok(length @ 1..) = u32::try_from(lists.value_length(row)) else {
                return exec_err!("{EMPTY}");
            };
            let start = u32::try_from(lists.value_offsets()[row])
                .map_err(|_| exec_datafusion_err!("hp_choice: negative list offset"))?;
            Ok(Some(start + draw.below(u128::from(length)) as u32))
        })
        .collect::<Result<_>>()?;
    Ok(take(lists.values(), &chosen, None)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    fn choose(lists: Vec<Option<Vec<Option<i64>>>>) -> Result<Vec<Option<i64>>> {
        let rows = lists.len();
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let seed: ArrayRef = Arc::new(Int64Array::from(vec![1; rows]));
        let trial: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let name: ArrayRef = Arc::new(StringArray::from(vec!["x"; rows]));
        let draws = Draws::try_new(&seed, &trial, &name)?;
        let chosen = choice_rows(&draws, &lists)?;
        let chosen = datafusion::common::cast::as_int64_array(&chosen)?;
        Ok(chosen.iter().collect())
    }

    #[test]
    fn every_element_is_equally_likely() {
        let chosen = choose(vec![Some(vec![Some(0), Some(1), Some(2)]); 3_000]).unwrap();
        for element in 0..3 {
            let count = chosen
                .iter()
                .filter(|&&value| value == Some(element))
                .count();
            // Five standard deviations of a count: 26 each.
            assert!((870..=1130).contains(&count), "{element}: {count}");
        }
    }

    #[test]
    fn each_row_chooses_from_its_own_list() {
        let chosen = choose(vec![
            Some(vec![Some(7)]),
            None,
            Some(vec![None]),
            Some(vec![Some(9)]),
        ]);
        assert_eq!(chosen.unwrap(), [Some(7), None, None, Some(9)]);
    }

    #[test]
    fn nothing_can_be_chosen_from_an_empty_list() {
        let error = choose(vec![Some(vec![])]).unwrap_err().strip_backtrace();
        assert!(error.contains("at least one element"), "{error}");
    }
}
