//! `map_extract`, which gives NULL for a map that is NULL, as DuckDB does.

use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::compute::{is_null, nullif};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_nested::map_extract::MapExtract;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The function that takes the place of DataFusion's, which gives a list of NULL.
pub(super) fn map_extract() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Extract {
        inner: MapExtract::new(),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extract {
    inner: MapExtract,
}

impl ScalarUDFImpl for Extract {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let map = args.args.first().cloned();
        let lists = self.inner.invoke_with_args(args)?;
        let Some(map) = map.filter(|map| !map.data_type().is_null()) else {
            return Ok(lists);
        };
        let map = map.into_array(rows)?;
        if map.null_count() == 0 {
            return Ok(lists);
        }
        // Of constants one list was made, and one map.
        let lists = lists.into_array(rows)?;
        Ok(ColumnarValue::Array(nullif(&lists, &is_null(&map)?)?))
    }
}
