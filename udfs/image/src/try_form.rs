//! Functions over images that give errors as values: `try_image_resize` and its like.
//!
//! Each is the strict function with another name, whose answer stands in a struct beside the
//! reason why there is none.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::panics::catch;
use atoll_udf_common::model::ModelFailure;
use atoll_udf_common::outcome::{Outcome, died, fields, result_array};
use atoll_udf_common::{
    Call, CallContext, ExpensiveFunction, PreparedCall, REPORT, Usage,
};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Fields};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs, ScalarFunctionArgs};

use crate::SECTION;
use crate::rows::{EachRow, Failed, each};

/// A function that ends the statement with the first image that it fails for.
pub(crate) trait Strict: ExpensiveFunction {
    /// What it gives for an image.
    type Value: Send + 'static;

    /// What the answer is called in the struct.
    const ANSWER: &'static str;

    /// How it evaluates rows.
    fn rows() -> EachRow<Self::Value>;
}

/// The form of a function that gives errors as values.
#[derive(Debug)]
pub(crate) struct TryForm<F> {
    strict: F,
    usage: Usage,
    documentation: Documentation,
}

impl<F: Strict> TryForm<F> {
    /// `name`, `syntax` and `example` are those of the form.
    pub(crate) fn new(
        strict: F,
        name: &'static str,
        syntax: &'static str,
        example: &str,
    ) -> Self {
        let Usage {
            arguments,
            optional,
            name: of,
            ..
        } = *strict.usage();
        let description = format!(
            "Does what `{of}` does and returns struct<{answer}, error_code, error>. Where \
             there is no answer, `{answer}` is NULL and `error_code` and `error` say why, with \
             the words of `try_image_decode`. NULL gives NULL.",
            answer = F::ANSWER
        );
        let mut documentation = Documentation::builder(SECTION, description, syntax)
            .with_sql_example(example)
            .with_related_udf(of);
        let arguments_of = strict.documentation().and_then(|all| all.arguments.clone());
        for (name, text) in arguments_of.unwrap_or_default() {
            documentation = documentation.with_argument(name, text);
        }
        Self {
            usage: Usage {
                name,
                syntax,
                arguments,
                optional,
            },
            documentation: documentation.build(),
            strict,
        }
    }
}

#[async_trait]
impl<F: Strict> ExpensiveFunction for TryForm<F> {
    fn usage(&self) -> &Usage {
        &self.usage
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        let answer = self.strict.return_type(args)?;
        Ok(DataType::Struct(fields(F::ANSWER, answer)))
    }

    async fn prepare(&self, call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        let DataType::Struct(fields) = call.return_field.data_type() else {
            return internal_err!("{} returns a struct", self.usage.name);
        };
        Ok(Arc::new(PreparedTry {
            name: self.usage.name,
            rows: F::rows(),
            fields: fields.clone(),
        }))
    }
}

struct PreparedTry<T> {
    name: &'static str,
    rows: EachRow<T>,
    fields: Fields,
}

impl<T> Debug for PreparedTry<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedTry").field(&self.name).finish()
    }
}

impl<T> PreparedTry<T> {
    fn array(&self, rows: Vec<Outcome<T>>) -> Result<ArrayRef> {
        result_array(rows, self.fields.clone(), self.rows.collect)
    }
}

#[async_trait]
impl<T: Send + 'static> PreparedCall for PreparedTry<T> {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let EachRow { usage, value, .. } = self.rows;
        let rows = each(self.name, usage, args, context, move |row| {
            let found = catch(|| value(row)).unwrap_or_else(|panic| {
                let message = format!("internal error: {panic}; {REPORT}");
                let failure = ModelFailure::new("DECODER_FAILED", message);
                Err(DataFusionError::External(Box::new(failure)))
            });
            Ok(found.map_err(|error| failure(usage, &error)).transpose())
        });
        self.array(rows.await?)
    }

    async fn give_up(
        &self,
        args: ScalarFunctionArgs,
        _context: &CallContext,
        reason: &str,
    ) -> Result<ArrayRef> {
        self.array(died(args.number_rows, reason))
    }
}

/// Why a row has no answer: what is wrong with its image, or else with its arguments.
fn failure(usage: &Usage, error: &DataFusionError) -> ModelFailure {
    if let DataFusionError::External(error) = error {
        if let Some(failed) = error.downcast_ref::<Failed>() {
            return failed.failure.clone();
        }
        if let Some(failure) = error.downcast_ref::<ModelFailure>() {
            return failure.clone();
        }
    }
    let message = error.message();
    let function = format!("{}: ", usage.name);
    ModelFailure::argument(message.strip_prefix(&function).unwrap_or(&message))
}
