//! From a dataset of images to a dataset of their features.
//!
//! The dataset is read twice: for the SHA-256 of each image with its label, and then, for
//! the images whose features are not kept yet, for the images. The second reading is a query
//! that calls `try_embed`, so that it is tasks of a cluster where there is one, has a
//! progress bar, and takes images of any size and format.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use atoll_compute::CancellationToken;
use atoll_udf_common::Location;
use atoll_udf_common::args::{bytes_at, string_at};
use atoll_udf_common::image::is_file_struct;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float32Builder,
    ListBuilder, RecordBatch,
};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt32Type};
use datafusion::catalog::MemTable;
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::common::{
    JoinType, Result, ScalarValue, exec_err, internal_datafusion_err, plan_err,
};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::functions::core::get_field;
use datafusion::functions::crypto::sha256;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::kept::{self, ImageDigest, Known};
use super::{Backbone, FUNCTION};
use crate::dataset::{ColumnOptions, DatasetSource, Wanted, column_expr};

/// Images whose features come into one file, so that a statement that is killed has to
/// compute at most so many again.
const FILE_ROWS: usize = 4_096;

/// The columns of both readings that say which image a row has.
const KEYS: [&str; 4] = ["__image", "__width", "__height", "__channels"];

/// What a row's image is called, where the dataset says it.
const NAME: &str = "__name";

/// What the second reading computes.
const RESULT: &str = "__features";

/// Features of a dataset's images, with what its rows say beside.
pub(crate) struct Features {
    /// Rows of numbers, with the labels and splits of the images.
    pub(crate) source: DatasetSource,
    /// Which images are left out and why.
    pub(crate) warnings: Vec<String>,
    /// How many images were computed.
    pub(crate) computed: usize,
}

/// What came of computing features.
#[derive(Default)]
struct Computed {
    /// The rows without the features.
    batches: Vec<RecordBatch>,
    /// The images of each batch.
    digests: Vec<Vec<ImageDigest>>,
    /// Why some images have none.
    failed: HashMap<ImageDigest, String>,
}

/// One computation.
struct Computation<'a> {
    backbone: &'a Backbone,
    images: &'a DatasetSource,
    image: &'a str,
    session: &'a SessionState,
    storage: &'a Location,
    token: &'a CancellationToken,
}

impl Backbone {
    /// Checks that a dataset has images for a backbone, or its features.
    pub(crate) fn check(&self, images: &DatasetSource) -> Result<()> {
        if images.image().is_some() || images.features_name() == Some(self.key()) {
            return Ok(());
        }
        plan_err!(
            "{FUNCTION}: {} has no column of image files or IMAGE structs, which backbone {} \
             needs; name it in the options, such as {{image: 'photo'}}",
            images.name(),
            self.name
        )
    }

    /// The features of the images of a dataset: of those that are kept under the storage
    /// already, and of the others, which are kept then. An image that cannot be read is left
    /// out.
    pub(crate) async fn features_of(
        &self,
        images: DatasetSource,
        session: &SessionState,
        storage: &Location,
        token: &CancellationToken,
    ) -> Result<Features> {
        self.check(&images)?;
        let Some(image) = images.image() else {
            return Ok(Features {
                source: images,
                warnings: vec![],
                computed: 0,
            });
        };
        let computation = Computation {
            backbone: self,
            images: &images,
            image,
            session,
            storage,
            token,
        };
        computation.run().await
    }
}

impl Computation<'_> {
    async fn run(&self) -> Result<Features> {
        let rows = self.images.frame(Wanted::NotTest)?;
        let beside = self.images.columns().filter(|column| *column != self.image);
        let beside: Vec<Expr> = beside.map(column_expr).collect();
        let mut labelled = self.keys(&rows)?;
        let name = self.images.file_names();
        labelled.extend(name.map(|name| column_expr(name).alias(NAME)));
        labelled.extend(beside.iter().cloned());
        let key = self.backbone.key();
        let files = kept::files(self.storage, &key).await?;
        let mut known = Known::new();
        let mut kept = 0;
        let done = if files.is_empty() {
            // One reading is enough where all have to be computed.
            self.compute(rows, labelled, &key, &mut known).await?
        } else {
            let mut done = self.labels(rows.clone().select(labelled)?).await?;
            let mut wanted: HashSet<_> = done.digests.iter().flatten().copied().collect();
            kept::read(files, &wanted, &mut known).await?;
            kept = known.len();
            let all = wanted.len();
            wanted.retain(|image| !known.contains_key(image));
            if !wanted.is_empty() {
                let rows = match wanted.len() == all {
                    true => rows,
                    false => self.only(rows, &wanted)?,
                };
                let keys = self.keys(&rows)?;
                done.failed = self.compute(rows, keys, &key, &mut known).await?.failed;
            }
            done
        };
        Ok(Features {
            source: self.source(beside.len(), &done, &known)?,
            warnings: left_out(&done, &known),
            computed: known.len() - kept,
        })
    }

    /// Reads which image each row has, and what the rows say beside.
    async fn labels(&self, frame: DataFrame) -> Result<Computed> {
        let mut stream = frame.execute_stream().await?;
        let mut done = Computed::default();
        while let Some(batch) = self.next(&mut stream).await? {
            done.digests.push(self.digests(&batch)?);
            done.batches.push(batch);
        }
        Ok(done)
    }

    async fn next<S>(&self, stream: &mut S) -> Result<Option<RecordBatch>>
    where
        S: futures::Stream<Item = Result<RecordBatch>> + Unpin,
    {
        let next = self.token.run_until_cancelled(stream.next()).await;
        match next {
            Some(next) => next.transpose(),
            None => exec_err!("{FUNCTION}: the statement was cancelled"),
        }
    }

    /// Which image a row has: the SHA-256 of its file, or of its pixels with its size.
    fn keys(&self, rows: &DataFrame) -> Result<Vec<Expr>> {
        let image = column_expr(self.image);
        let field = rows.schema().as_arrow().field_with_name(self.image)?;
        let keys = match field.data_type() {
            DataType::Struct(fields) if is_file_struct(fields) => {
                vec![sha256().call(vec![get_field().call(vec![image, lit("bytes")])])]
            }
            DataType::Struct(_) => {
                let part = |name: &str| {
                    get_field().call(vec![image.clone(), lit(name.to_string())])
                };
                vec![
                    sha256().call(vec![part("data")]),
                    part("width"),
                    part("height"),
                    part("channels"),
                ]
            }
            _ => vec![sha256().call(vec![image])],
        };
        let named = keys.into_iter().zip(KEYS);
        Ok(named.map(|(key, name)| key.alias(name)).collect())
    }

    /// The digest of the image in each row of a batch that has [`KEYS`].
    fn digests(&self, batch: &RecordBatch) -> Result<Vec<ImageDigest>> {
        let image = batch.column(0);
        let nulls = image.logical_null_count();
        if nulls > 0 {
            return exec_err!(
                "{FUNCTION}: column {} of {} is NULL in {nulls} rows; leave them out with \
                 WHERE {} IS NOT NULL",
                self.image,
                self.images.name(),
                self.image
            );
        }
        let sides = KEYS[1..]
            .iter()
            .filter_map(|name| batch.column_by_name(name));
        let sides: Vec<ArrayRef> = sides
            .map(|side| cast(side, &DataType::UInt32))
            .collect::<Result<_, _>>()?;
        let digest = |row: usize| {
            let image = bytes_at(image, row).unwrap_or_default();
            if sides.is_empty() {
                return ImageDigest::try_from(image).unwrap_or_default();
            }
            let mut digest = Sha256::new_with_prefix(image);
            for side in &sides {
                digest.update(side.as_primitive::<UInt32Type>().value(row).to_le_bytes());
            }
            digest.finalize().into()
        };
        Ok((0..batch.num_rows()).map(digest).collect())
    }

    /// Computes the features of the images in these rows and keeps them. `columns` begin
    /// with [`KEYS`].
    async fn compute(
        &self,
        rows: DataFrame,
        mut columns: Vec<Expr>,
        key: &str,
        known: &mut Known,
    ) -> Result<Computed> {
        let embed = self.session.scalar_functions().get("try_embed");
        let embed =
            embed.ok_or_else(|| internal_datafusion_err!("there is no try_embed"))?;
        let arguments = vec![
            lit(self.backbone.path.clone()),
            column_expr(self.image),
            Expr::Literal(self.embed_options()?, None),
        ];
        columns.push(embed.call(arguments).alias(RESULT));
        let mut stream = rows.select(columns)?.execute_stream().await?;
        let mut done = Computed::default();
        let mut fresh = Vec::new();
        while let Some(mut batch) = self.next(&mut stream).await? {
            let results = batch.remove_column(batch.num_columns() - 1);
            let results = results.as_struct();
            let (features, codes) =
                (results.column(0).as_list::<i32>(), results.column(1));
            let digests = self.digests(&batch)?;
            for (row, image) in digests.iter().copied().enumerate() {
                if known.contains_key(&image) {
                    continue;
                }
                if features.is_null(row) {
                    let code = string_at(codes, row).unwrap_or("no image");
                    let error = string_at(results.column(2), row).unwrap_or_default();
                    done.failed.insert(image, format!("{code}: {error}"));
                    continue;
                }
                let numbers = features.value(row);
                let numbers: Arc<[f32]> =
                    Arc::from(numbers.as_primitive::<Float32Type>().values().as_ref());
                known.insert(image, Arc::clone(&numbers));
                fresh.push((image, numbers));
                if fresh.len() == FILE_ROWS {
                    kept::write(self.storage, key, &fresh).await?;
                    fresh.clear();
                }
            }
            done.digests.push(digests);
            done.batches.push(batch);
        }
        if !fresh.is_empty() {
            kept::write(self.storage, key, &fresh).await?;
        }
        Ok(done)
    }

    /// The rows with one of these images, so that of a dataset that grew by one image only
    /// that one is computed. The digest of an IMAGE is no single expression.
    fn only(&self, rows: DataFrame, images: &HashSet<ImageDigest>) -> Result<DataFrame> {
        let mut keys = self.keys(&rows)?;
        if keys.len() > 1 {
            return Ok(rows);
        }
        let mut images: Vec<&ImageDigest> = images.iter().collect();
        images.sort_unstable();
        let digests = FixedSizeBinaryArray::try_from_iter(images.into_iter())?;
        let digests = cast(&digests, &DataType::Binary)?;
        let field = Field::new("__wanted", DataType::Binary, false);
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![digests])?;
        let table = MemTable::try_new(schema, vec![vec![batch]])?;
        let ctx = SessionContext::new_with_state(self.session.clone());
        let wanted = ctx.read_table(Arc::new(table))?;
        rows.with_column(KEYS[0], keys.swap_remove(0))?.join(
            wanted,
            JoinType::LeftSemi,
            &[KEYS[0]],
            &["__wanted"],
            None,
        )
    }

    /// What `try_embed` is told: the tensor, and all of the preprocessing.
    fn embed_options(&self) -> Result<ScalarValue> {
        let output = match self.backbone.pooled {
            // Only what is found as the features is averaged.
            true => atoll_onnx::FEATURES,
            false => self.backbone.tensor.as_str(),
        };
        let mut options = ScalarStructBuilder::new().with_scalar(
            Field::new("output", DataType::Utf8, true),
            ScalarValue::from(output),
        );
        for (key, value) in &self.backbone.preprocessing {
            let key = key.strip_prefix("image.").unwrap_or(key);
            let field = Field::new(key, DataType::Utf8, true);
            options = options.with_scalar(field, ScalarValue::from(value.as_str()));
        }
        options.build()
    }

    /// The rows that have features, with the columns beside the image, which are the last
    /// of each batch.
    fn source(
        &self,
        beside: usize,
        done: &Computed,
        known: &Known,
    ) -> Result<DatasetSource> {
        let batches = &done.batches;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(schema) = batches.first().map(RecordBatch::schema) else {
            return exec_err!("{} has no rows to train on", self.images.name());
        };
        let skip = schema.fields().len() - beside;
        let mut name = "features".to_string();
        while schema.field_with_name(&name).is_ok() {
            name.insert(0, '_');
        }
        let list = DataType::new_list(DataType::Float32, true);
        let mut fields = vec![Arc::new(Field::new(&name, list, true))];
        fields.extend(schema.fields().iter().skip(skip).cloned());
        let metadata = schema.metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let mut featured = Vec::with_capacity(batches.len());
        for (batch, digests) in batches.iter().zip(&done.digests) {
            let mut lists = ListBuilder::new(Float32Builder::new());
            let found: Vec<_> = digests.iter().map(|image| known.get(image)).collect();
            for numbers in found.iter().flatten() {
                lists.values().append_slice(numbers);
                lists.append(true);
            }
            let is_known = BooleanArray::from_iter(
                found.iter().map(|numbers| Some(numbers.is_some())),
            );
            let batch = filter_record_batch(batch, &is_known)?;
            let mut columns: Vec<ArrayRef> = vec![Arc::new(lists.finish())];
            columns.extend(batch.columns().iter().skip(skip).cloned());
            featured.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        }
        if rows > 0 && known.is_empty() {
            return exec_err!(
                "{FUNCTION}: none of the {rows} images of {} can be read",
                self.images.name()
            );
        }
        let ctx = SessionContext::new_with_state(self.session.clone());
        let table = MemTable::try_new(schema, vec![featured])?;
        let options = ColumnOptions {
            image: None,
            features: Some(vec![name]),
            ..self.images.options().clone()
        };
        let frame = ctx.read_table(Arc::new(table))?;
        DatasetSource::new(frame, FUNCTION, self.images.name(), &options)
    }
}

/// A sentence on the images without features.
fn left_out(done: &Computed, known: &Known) -> Vec<String> {
    let rows = done.digests.iter().map(Vec::len).sum::<usize>();
    let lost = done
        .batches
        .iter()
        .zip(&done.digests)
        .flat_map(|(batch, digests)| {
            let rows = digests.iter().enumerate();
            let lost = rows.filter(|(_, image)| !known.contains_key(*image));
            lost.map(move |(row, image)| (batch, row, image))
        });
    let lost: Vec<_> = lost.collect();
    let Some((batch, row, image)) = lost.first() else {
        return vec![];
    };
    let name = batch.column_by_name(NAME);
    let name = name.and_then(|names| string_at(names, *row));
    let reason = done.failed.get(*image).map_or("", String::as_str);
    let are = if lost.len() == 1 { "is" } else { "are" };
    vec![format!(
        "{} of {rows} images cannot be read and {are} left out, such as {} ({reason})",
        lost.len(),
        name.unwrap_or("one without a name")
    )]
}
