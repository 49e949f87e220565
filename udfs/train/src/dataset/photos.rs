//! Photos in files: a folder whose subfolders are classes, and tables that name files.
//!
//! A folder is read as torchvision's `ImageFolder` reads it: the class of a photo is the name
//! of the first folder on the way to it. Where these are called `train`, `validation` or
//! `val`, and `test`, they are splits and the next ones are classes, as for Hugging Face's
//! `imagefolder`. A column of file names is read like its `file_name`: below the folder of the
//! table's file.

use std::collections::BTreeSet;

use atoll_udf_common::CallContext;
use atoll_udf_common::args::{is_text, string_at};
use atoll_udf_common::files::{Kind, Named, Order};
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::{Result, internal_datafusion_err, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::functions::string::concat;
use datafusion::functions::string::split_part;
use datafusion::functions::unicode::substr;
use datafusion::logical_expr::{Expr, ident, lit, when};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::source::{IMAGE, SPLIT, column_expr};
use super::{ColumnOptions, Split};

/// How the names of photos end, in any case: what the decoders know.
const ENDINGS: [&str; 12] = [
    "jpg", "jpeg", "jpe", "png", "gif", "webp", "bmp", "tif", "tiff", "pgm", "ppm", "pnm",
];

/// Columns of file names that need not be named in the options.
const FILE_NAMES: [&str; 4] = ["file_name", "filename", "file", "path"];

/// The label column of a folder.
const LABEL: &str = "label";

/// Folders that are splits.
const SPLITS: [(&str, Split); 6] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("validation", Split::Validation),
    ("valid", Split::Validation),
    ("val", Split::Validation),
    ("test", Split::Test),
];

fn is_photo(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

/// What is in a folder of photos.
#[derive(Default)]
struct Folder {
    /// The folders on the first level that have photos below.
    folders: BTreeSet<String>,
    /// Whether each photo is two levels down or more.
    is_deep: bool,
    /// A photo that is in no folder.
    alone: Option<String>,
    photos: usize,
}

impl Folder {
    async fn read(named: &Named, prefix: &str) -> Result<Self> {
        let mut found = Self {
            is_deep: true,
            ..Self::default()
        };
        let mut files = named.stream(Order::Any);
        while let Some(page) = files.try_next().await? {
            for file in page {
                if !is_photo(&file.filename) {
                    continue;
                }
                found.photos += 1;
                let below = file.filename.strip_prefix(prefix).unwrap_or_default();
                match below.split_once('/') {
                    Some((folder, rest)) => {
                        found.is_deep &= rest.contains('/');
                        if !found.folders.contains(folder) {
                            found.folders.insert(folder.to_string());
                        }
                    }
                    None => found.alone = Some(file.filename.clone()),
                }
            }
        }
        Ok(found)
    }

    /// Whether the folders on the first level are splits.
    fn has_splits(&self) -> bool {
        let is_split = |name: &String| SPLITS.iter().any(|(known, _)| known == name);
        self.is_deep && self.folders.len() > 1 && self.folders.iter().all(is_split)
    }
}

/// The photos of a folder with their classes; `None` if there are none.
pub(super) async fn folder(
    ctx: &SessionContext,
    function: &str,
    name: &str,
) -> Result<Option<DataFrame>> {
    let state = ctx.state();
    let context = CallContext::of(state.config());
    let named = Named::of(context.directory.as_deref(), name).await?;
    if !matches!(named.kind, Kind::Folder) {
        return Ok(None);
    }
    let prefix = format!("{}/", name.trim_end_matches('/'));
    let found = Folder::read(&named, &prefix).await?;
    if found.photos == 0 {
        return Ok(None);
    }
    if found.folders.is_empty() {
        return plan_err!(
            "{function}: {name} has {} photos and no subfolders with photos; each class needs \
             a folder of its own, such as {prefix}cats/1.jpg and {prefix}dogs/1.jpg",
            found.photos
        );
    }
    if let Some(alone) = &found.alone {
        return plan_err!(
            "{function}: {alone} is in no folder of a class, as the other photos of {name} \
             are; move it into one, or elsewhere"
        );
    }
    let read_blob = state.table_functions().get("read_blob");
    let read_blob = read_blob.ok_or_else(|| internal_datafusion_err!("no read_blob"))?;
    let files = [lit(name)];
    let files = TableFunctionArgs::new(&files, &state);
    let files = read_blob.create_table_provider_with_args(files)?;
    let photo = ENDINGS
        .iter()
        .map(|ending| ident("filename").ilike(lit(format!("%.{ending}"))));
    let photo = photo.reduce(Expr::or).unwrap_or_else(|| lit(true));
    let start = prefix.chars().count() as i64 + 1;
    let below = substr().call(vec![ident("filename"), lit(start)]);
    let part = |n: i64| split_part().call(vec![below.clone(), lit("/"), lit(n)]);
    let mut columns = vec![ident("content").alias(IMAGE), ident("filename")];
    if found.has_splits() {
        columns.push(split(part(1))?.alias(SPLIT));
        columns.push(part(2).alias(LABEL));
    } else {
        columns.push(part(1).alias(LABEL));
    }
    let frame = ctx.read_table(files)?.filter(photo)?.select(columns)?;
    Ok(Some(frame))
}

/// The name of a split from the name of a folder.
fn split(folder: Expr) -> Result<Expr> {
    let mut splits = SPLITS.iter();
    let Some((first, split)) = splits.next() else {
        return Ok(folder);
    };
    let mut case = when(folder.clone().eq(lit(*first)), lit(split.name()));
    for (name, split) in splits {
        case = case.when(folder.clone().eq(lit(*name)), lit(split.name()));
    }
    case.end()
}

/// Rows whose image column names files, with the files' contents. `name` is the file or
/// folder that the rows come from, if they do; other rows are returned as they are.
pub(super) async fn of_names(
    ctx: &SessionContext,
    frame: DataFrame,
    options: &ColumnOptions,
    name: Option<&str>,
) -> Result<DataFrame> {
    let schema = frame.schema().as_arrow();
    let Some(column) = named_column(schema, options) else {
        return Ok(frame);
    };
    let column = column.to_string();
    let first = frame
        .clone()
        .select(vec![column_expr(&column)])?
        .filter(column_expr(&column).is_not_null())?
        .limit(0, Some(1))?;
    let first = first.collect().await?;
    let first = first.iter().find(|batch| batch.num_rows() > 0);
    let first = first.and_then(|batch| string_at(batch.column(0), 0));
    // Anything else is pixels as text.
    if !first.is_some_and(is_photo) {
        return Ok(frame);
    }
    let state = ctx.state();
    let mut file = column_expr(&column);
    if let Some(base) = base(ctx, name).await? {
        let is_whole = file
            .clone()
            .like(lit("/%"))
            .or(file.clone().like(lit("%://%")));
        let below = concat().call(vec![lit(base), file.clone()]);
        file = when(is_whole, file).otherwise(below)?;
    }
    let download = state.scalar_functions().get("url_download");
    let download = download.ok_or_else(|| internal_datafusion_err!("no url_download"))?;
    let image = options.image.as_deref().unwrap_or(IMAGE);
    let others = schema.fields().iter().map(|field| field.name());
    let others = others.filter(|other| other.as_str() != image);
    let mut columns: Vec<Expr> = others.map(|other| column_expr(other)).collect();
    // Where the names are in the column `image`, they are kept for messages.
    if column == image && schema.field_with_name(FILE_NAMES[0]).is_err() {
        columns.push(column_expr(&column).alias(FILE_NAMES[0]));
    }
    columns.push(download.call(vec![file]).alias(image));
    frame.clone().select(columns)
}

/// The column that may hold file names.
fn named_column<'a>(schema: &'a Schema, options: &'a ColumnOptions) -> Option<&'a str> {
    if options.features.is_some() {
        return None;
    }
    let named = options.image.as_deref();
    let named = named.or_else(|| schema.field_with_name(IMAGE).is_ok().then_some(IMAGE));
    match named {
        Some(name) => has_text(schema, name).then_some(name),
        None => file_names(schema),
    }
}

/// The column that says what images are called, if there is one.
pub(super) fn file_names(schema: &Schema) -> Option<&'static str> {
    FILE_NAMES.into_iter().find(|name| has_text(schema, name))
}

fn has_text(schema: &Schema, name: &str) -> bool {
    let field = schema.field_with_name(name);
    field.is_ok_and(|field| is_text(field.data_type()))
}

/// The folder below which file names are, with a slash.
async fn base(ctx: &SessionContext, name: Option<&str>) -> Result<Option<String>> {
    let Some(name) = name else {
        return Ok(None);
    };
    let context = CallContext::of(ctx.state().config());
    let named = Named::of(context.directory.as_deref(), name).await?;
    Ok(match named.kind {
        Kind::Folder => Some(format!("{}/", name.trim_end_matches('/'))),
        Kind::File(_) => name.rfind('/').map(|end| name[..=end].to_string()),
        Kind::Pattern(_) | Kind::Missing => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_known_by_their_endings() {
        assert!(is_photo("a/b.JPG") && is_photo("x.y.webp"));
        assert!(!is_photo("jpg") && !is_photo("a.txt") && !is_photo("0 12 255"));
    }

    #[test]
    fn folders_are_splits_if_all_are() {
        let folder = |names: &[&str], is_deep: bool| Folder {
            folders: names.iter().map(ToString::to_string).collect(),
            is_deep,
            ..Folder::default()
        };
        assert!(folder(&["train", "val"], true).has_splits());
        assert!(!folder(&["train", "val"], false).has_splits());
        assert!(!folder(&["train", "plane"], true).has_splits());
        // One class of trains, rather than a data set without validation.
        assert!(!folder(&["train"], true).has_splits());
    }
}
