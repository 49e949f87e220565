//! Runs a function of one image for each row, on the compute pool.

use std::fmt::{self, Debug, Display, Formatter};

use async_trait::async_trait;
use atoll_imaging::{Error, Image, ImageRef};
use atoll_udf_common::args::string_at;
use atoll_udf_common::image::{ImageColumn, ImageValue, image_error};
use atoll_udf_common::model::ModelFailure;
use atoll_udf_common::{CallContext, PreparedCall, Usage, map_rows};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use crate::arguments::count;

/// One row whose image is not NULL.
pub(crate) struct Row<'a> {
    pub(crate) usage: &'static Usage,
    pub(crate) image: ImageValue<'a>,
    args: &'a [ArrayRef],
    row: usize,
}

impl Row<'_> {
    /// Whether the argument `n` after the image was given.
    pub(crate) fn has(&self, n: usize) -> bool {
        n + 1 < self.args.len()
    }

    /// The number of pixels in the argument `n` after the image; `None` for NULL.
    pub(crate) fn pixels(&self, n: usize) -> Result<Option<u32>> {
        let Some(column) = self.args[n + 1].as_primitive_opt::<Int64Type>() else {
            return Ok(None);
        };
        if column.is_null(self.row) {
            return Ok(None);
        }
        count(self.usage, n + 1, column.value(self.row)).map(Some)
    }

    /// The text in the argument `n` after the image; `None` for NULL.
    pub(crate) fn text(&self, n: usize) -> Option<&str> {
        string_at(&self.args[n + 1], self.row)
    }

    /// The argument `n` after the image, and which row of it is meant.
    pub(crate) fn column(&self, n: usize) -> (&ArrayRef, usize) {
        (&self.args[n + 1], self.row)
    }

    /// Decodes the image, unless it is decoded, and computes something of it.
    pub(crate) fn with_image<T>(
        &self,
        work: impl FnOnce(ImageRef<'_>) -> Result<T, Error>,
    ) -> Result<T> {
        let result = match &self.image {
            ImageValue::Encoded(_) => {
                self.image.decode().and_then(|image| work(image.as_ref()))
            }
            // Saves a copy; every function of the crate checks what it is given.
            ImageValue::Decoded(image) => work(*image),
        };
        result.map_err(|error| self.error(&error))
    }

    /// Decodes the image.
    pub(crate) fn decode(&self) -> Result<Image> {
        self.image.decode().map_err(|error| self.error(&error))
    }

    fn error(&self, error: &Error) -> DataFusionError {
        DataFusionError::External(Box::new(Failed::new(self.usage.name, error)))
    }
}

/// What is wrong with an image, with the code that a `try_` form gives.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: ModelFailure,
    /// What a strict function says.
    message: String,
}

impl Failed {
    fn new(function: &str, error: &Error) -> Self {
        let strict = image_error(function, error, &format!("try_{function}"));
        Self {
            failure: ModelFailure::new(error.code(), error.to_string()),
            message: strict.message().into_owned(),
        }
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// A call that gives one value of each image.
pub(crate) struct EachRow<T> {
    pub(crate) usage: &'static Usage,
    /// The value of one row; `None` is NULL.
    pub(crate) value: fn(&Row<'_>) -> Result<Option<T>>,
    /// Puts the values of a record batch together.
    pub(crate) collect: fn(Vec<Option<T>>) -> Result<ArrayRef>,
}

impl<T> Debug for EachRow<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EachRow").field(&self.usage.name).finish()
    }
}

#[async_trait]
impl<T: Send + 'static> PreparedCall for EachRow<T> {
    async fn invoke(
        &self,
        args: ScalarFunctionArgs,
        context: &CallContext,
    ) -> Result<ArrayRef> {
        let Self {
            usage,
            value,
            collect,
        } = *self;
        collect(each(usage.name, usage, args, context, value).await?)
    }
}

/// Evaluates the rows of a record batch; `None` where the image is NULL.
pub(crate) async fn each<T: Send + 'static>(
    function: &'static str,
    usage: &'static Usage,
    args: ScalarFunctionArgs,
    context: &CallContext,
    value: impl Fn(&Row<'_>) -> Result<Option<T>> + Send + Sync + 'static,
) -> Result<Vec<Option<T>>> {
    let rows = args.number_rows;
    let args: Vec<ArrayRef> = args
        .args
        .into_iter()
        .map(|arg: ColumnarValue| arg.into_array(rows))
        .collect::<Result<_>>()?;
    let images = ImageColumn::try_new(function, &args[0])?;
    let progress = context.progress.rows(function);
    progress.add_total(rows as u64);
    map_rows(rows, context, move |row, _| {
        let result = match images.get(row) {
            Some(image) => value(&Row {
                usage,
                image,
                args: &args,
                row,
            }),
            None => Ok(None),
        };
        progress.advance(1);
        result
    })
    .await
}
