//! Files of labelled images as they are now.

use std::collections::HashMap;

use atoll_report::Thumbnail;
use atoll_session::Session;
use datafusion::arrow::array::Array;

use super::columns::{column, each, field, literal, texts};
use super::test::bytes;
use crate::errors::Failure;

/// A file as it is now.
pub(super) struct File {
    pub(super) thumbnail: Option<Thumbnail>,
    pub(super) sha256: Option<String>,
    /// Why it cannot be shown.
    pub(super) error: Option<String>,
}

/// Reads files, or fetches them where they were fetched to be labelled.
pub(super) async fn read(
    session: &Session,
    names: &[String],
) -> Result<HashMap<String, File>, Failure> {
    let mut files = HashMap::new();
    if names.is_empty() {
        return Ok(files);
    }
    let values: Vec<String> = names
        .iter()
        .map(|name| format!("({})", literal(name)))
        .collect();
    let sql = format!(
        "SELECT filename, try_url_download(filename) AS file \
         FROM (VALUES {}) AS names(filename)",
        values.join(", ")
    );
    each(session, &sql, |batch| {
        let names = column(batch, "filename").map(texts).transpose()?;
        let Some(file) = column(batch, "file") else {
            return Ok(());
        };
        for (row, name) in names.unwrap_or_default().into_iter().enumerate() {
            let of_row = |name: &str| field(file, name).map(|array| array.slice(row, 1));
            let text = |name: &str| -> Result<Option<String>, Failure> {
                let texts = of_row(name).as_ref().map(texts).transpose()?;
                Ok(texts.and_then(|texts| texts.into_iter().flatten().next()))
            };
            let content = of_row("content").and_then(|content| bytes(&content));
            let thumbnail = content.map(|content| Thumbnail::of_file(&content));
            let (thumbnail, undecoded) = match thumbnail {
                Some(Ok(thumbnail)) => (Some(thumbnail), None),
                Some(Err(error)) => (None, Some(error.to_string())),
                None => (None, None),
            };
            let file = File {
                thumbnail,
                sha256: text("content_sha256")?,
                error: undecoded.or(text("error")?),
            };
            files.insert(name.unwrap_or_default(), file);
        }
        Ok(())
    })
    .await?;
    Ok(files)
}
