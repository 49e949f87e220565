//! `min` and `max` of groups with NaN among their floats.
//!
//! DataFusion's compare floats so that NaN is neither above nor below anything, and then
//! take the later of two values: the minimum of 1, NaN and 3 is 3. Here NaN is above every
//! number, as it is in DataFusion's own `min` and `max` without GROUP BY.

use std::sync::Arc;

use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Float16Type, Float32Type,
    Float64Type,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// The functions that take the place of DataFusion's.
pub(crate) fn functions() -> [AggregateUDF; 2] {
    let function = |inner: Arc<AggregateUDF>, largest| {
        AggregateUDF::from(Extreme {
            inner: inner.as_ref().clone(),
            largest,
        })
    };
    [function(max_udaf(), true), function(min_udaf(), false)]
}

/// DataFusion's function, but for groups of floats.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: AggregateUDF,
    largest: bool,
}

/// The accumulator of one type; `start` is what every value takes the place of.
fn of_groups<T>(
    largest: bool,
    data_type: &DataType,
    (lowest, highest): (T::Native, T::Native),
) -> Box<dyn GroupsAccumulator>
where
    T: ArrowPrimitiveType + Send,
{
    let start = if largest { lowest } else { highest };
    let take = move |best: &mut T::Native, value: T::Native| {
        let is_better = match largest {
            // The order of all bits, in which NaN is above every number.
            true => value.is_gt(*best),
            false => value.is_lt(*best),
        };
        if is_better {
            *best = value;
        }
    };
    let accumulator = PrimitiveGroupsAccumulator::<T, _>::new(data_type, take);
    Box::new(accumulator.with_starting_value(start))
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type();
        // The first and the last of all bits in the order of `total_cmp`, both NaN.
        Ok(match data_type {
            DataType::Float16 => {
                type Half = <Float16Type as ArrowPrimitiveType>::Native;
                let ends = (Half::from_bits(u16::MAX), Half::from_bits(u16::MAX >> 1));
                of_groups::<Float16Type>(self.largest, data_type, ends)
            }
            DataType::Float32 => {
                let ends = (f32::from_bits(u32::MAX), f32::from_bits(u32::MAX >> 1));
                of_groups::<Float32Type>(self.largest, data_type, ends)
            }
            DataType::Float64 => {
                let ends = (f64::from_bits(u64::MAX), f64::from_bits(u64::MAX >> 1));
                of_groups::<Float64Type>(self.largest, data_type, ends)
            }
            _ => return self.inner.create_groups_accumulator(args),
        })
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
