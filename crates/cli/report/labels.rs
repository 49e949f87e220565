//! Reads labelled images: counts by SQL, and a few images to look at.

use std::collections::HashMap;

use atoll_report::{ErrorCode, FailedImage, LabelledImage, Labelling};
use atoll_session::Session;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;

use super::columns::{
    column, each, field, integers, lists, moments, numbers, quoted, rows, texts,
};
use super::files::{File, read};
use crate::errors::Failure;

/// Images of a code that are shown.
const EXAMPLES: usize = 4;
/// Codes that get examples.
const MOST_CODES: usize = 24;
/// Rows that are looked through for images that differ.
const CANDIDATES: usize = 8;

/// A table of labels.
struct Table<'a> {
    session: &'a Session,
    source: &'a str,
    schema: &'a Schema,
}

impl Table<'_> {
    fn has(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some()
    }

    /// A column, or NULL of its type where the table has none.
    fn or_null(&self, name: &str) -> String {
        match self.has(name) {
            true => quoted(name),
            false => format!("CAST(NULL AS VARCHAR) AS {name}"),
        }
    }

    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
        rows(self.session, sql).await
    }
}

/// An image with the digest of what was labelled.
struct Candidate {
    image: LabelledImage,
    sha256: Option<String>,
}

/// Reads a table of labels, and up to `images` images of each kind.
pub(super) async fn gather(
    session: &Session,
    (name, source): (&str, &str),
    schema: &Schema,
    images: usize,
) -> Result<Labelling, Failure> {
    let table = Table {
        session,
        source,
        schema,
    };
    let (total, times) = (count(&table).await?, times(&table).await?);
    let mut labelling = Labelling {
        name: name.to_string(),
        images: total,
        scores: scores(&table).await?,
        labels: frequent(&table).await?,
        errors: codes(&table).await?,
        times,
        models: models(&table).await?,
        ..Labelling::default()
    };
    if table.has("filename") && images > 0 {
        show(&table, &mut labelling, images).await?;
    }
    Ok(labelling)
}

/// Chooses images and reads their files.
async fn show(
    table: &Table<'_>,
    labelling: &mut Labelling,
    images: usize,
) -> Result<(), Failure> {
    let surest = extreme(table, "DESC", images).await?;
    let mut least = extreme(table, "ASC", images).await?;
    // Where there are few images, none is shown twice.
    least.retain(|candidate| {
        let name = &candidate.image.filename;
        surest.iter().all(|other| other.image.filename != *name)
    });
    let chosen = surest
        .iter()
        .chain(&least)
        .map(|candidate| &candidate.image.filename);
    let failed = labelling.errors.iter().flat_map(|error| &error.examples);
    let names: Vec<String> = chosen
        .chain(failed.map(|image| &image.filename))
        .cloned()
        .collect();
    let files = read(table.session, &names).await?;
    labelling.surest = with_files(surest, &files);
    labelling.least_sure = with_files(least, &files);
    for error in &mut labelling.errors {
        for image in &mut error.examples {
            let file = files.get(&image.filename);
            image.thumbnail = file.and_then(|file| file.thumbnail.clone());
        }
    }
    Ok(())
}

fn with_files(
    candidates: Vec<Candidate>,
    files: &HashMap<String, File>,
) -> Vec<LabelledImage> {
    let with_file = |candidate: Candidate| {
        let mut image = candidate.image;
        if let Some(file) = files.get(&image.filename) {
            image.thumbnail.clone_from(&file.thumbnail);
            image.remark.clone_from(&file.error);
            if file.sha256.is_some()
                && candidate.sha256.is_some()
                && file.sha256 != candidate.sha256
            {
                image.remark =
                    Some("the file has changed since it was labelled".to_string());
            }
        }
        image
    };
    candidates.into_iter().map(with_file).collect()
}

async fn count(table: &Table<'_>) -> Result<usize, Failure> {
    let sql = format!("SELECT count(*) AS n FROM {}", table.source);
    let counts = table.rows(&sql).await?;
    let count = counts.first().and_then(|batch| column(batch, "n"));
    let counts = count.map(integers).transpose()?.unwrap_or_default();
    let count = counts.into_iter().flatten().next().unwrap_or_default();
    Ok(usize::try_from(count).unwrap_or_default())
}

async fn scores(table: &Table<'_>) -> Result<Vec<f64>, Failure> {
    let sql = format!(
        "SELECT labels[1]['score'] AS score FROM {} WHERE labels IS NOT NULL",
        table.source
    );
    let mut scores = Vec::new();
    each(table.session, &sql, |batch| {
        if let Some(column) = column(batch, "score") {
            scores.extend(numbers(column)?.into_iter().flatten());
        }
        Ok(())
    })
    .await?;
    Ok(scores)
}

/// A count for each text, the most frequent first.
async fn counted(table: &Table<'_>, sql: &str) -> Result<Vec<(String, usize)>, Failure> {
    let mut counted = Vec::new();
    for batch in table.rows(sql).await? {
        let (Some(names), Some(counts)) = (column(&batch, "name"), column(&batch, "n"))
        else {
            continue;
        };
        for (name, count) in texts(names)?.into_iter().zip(integers(counts)?) {
            let count = usize::try_from(count.unwrap_or_default()).unwrap_or_default();
            counted.push((name.unwrap_or_default(), count));
        }
    }
    Ok(counted)
}

async fn frequent(table: &Table<'_>) -> Result<Vec<(String, usize)>, Failure> {
    let sql = format!(
        "SELECT name, count(*) AS n \
         FROM (SELECT labels[1]['label'] AS name FROM {} WHERE labels IS NOT NULL) \
         WHERE name IS NOT NULL GROUP BY name ORDER BY n DESC, name",
        table.source
    );
    counted(table, &sql).await
}

/// The codes of images without labels, with examples.
async fn codes(table: &Table<'_>) -> Result<Vec<ErrorCode>, Failure> {
    // Some tables say only that there are no labels.
    let code = match table.has("error_code") {
        true => "coalesce(error_code, 'NO_LABELS')",
        false => "'NO_LABELS'",
    };
    let sql = format!(
        "SELECT name, count(*) AS n FROM (SELECT {code} AS name FROM {} WHERE labels IS NULL) \
         GROUP BY name ORDER BY n DESC, name",
        table.source
    );
    let mut codes: Vec<ErrorCode> = counted(table, &sql)
        .await?
        .into_iter()
        .map(|(code, count)| ErrorCode {
            code,
            count,
            examples: Vec::new(),
        })
        .collect();
    if codes.is_empty() || !table.has("filename") {
        return Ok(codes);
    }
    let sql = format!(
        "SELECT name, filename, error FROM (\
             SELECT name, filename, error, \
                 row_number() OVER (PARTITION BY name ORDER BY filename) AS place \
             FROM (SELECT {code} AS name, filename, {} FROM {} WHERE labels IS NULL)\
         ) WHERE place <= {EXAMPLES} ORDER BY name, filename",
        table.or_null("error"),
        table.source
    );
    for batch in table.rows(&sql).await? {
        let text = |name: &str| column(&batch, name).map(texts).transpose();
        let (names, files) = (text("name")?, text("filename")?);
        let errors = text("error")?.unwrap_or_default();
        let rows = names
            .unwrap_or_default()
            .into_iter()
            .zip(files.unwrap_or_default());
        for ((name, filename), error) in rows.zip(errors) {
            let known = codes.iter_mut().take(MOST_CODES);
            let code = known
                .into_iter()
                .find(|code| Some(&code.code) == name.as_ref());
            if let Some(code) = code {
                code.examples.push(FailedImage {
                    filename: filename.unwrap_or_default(),
                    error: error.unwrap_or_default(),
                    thumbnail: None,
                });
            }
        }
    }
    Ok(codes)
}

async fn times(table: &Table<'_>) -> Result<Vec<(f64, usize)>, Failure> {
    if !table.has("labelled_at") {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT labelled_at, count(*) AS n FROM {} \
         WHERE labelled_at IS NOT NULL GROUP BY labelled_at ORDER BY labelled_at",
        table.source
    );
    let mut times = Vec::new();
    for batch in table.rows(&sql).await? {
        let (Some(at), Some(counts)) =
            (column(&batch, "labelled_at"), column(&batch, "n"))
        else {
            continue;
        };
        for (at, count) in moments(at)?.into_iter().zip(integers(counts)?) {
            let count = usize::try_from(count.unwrap_or_default()).unwrap_or_default();
            times.extend(at.map(|at| (at, count)));
        }
    }
    Ok(times)
}

/// What labelled the images: one line a network, preprocessing and engine.
async fn models(table: &Table<'_>) -> Result<Vec<String>, Failure> {
    let names = ["model_sha256", "preprocess_sha256", "engine"];
    let known: Vec<&str> = names.into_iter().filter(|name| table.has(name)).collect();
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT {0} FROM {1} ORDER BY {0}",
        known.join(", "),
        table.source
    );
    let mut models = Vec::new();
    for batch in table.rows(&sql).await? {
        let columns = known.iter().filter_map(|name| column(&batch, name));
        let columns: Vec<_> = columns.map(texts).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let parts = known.iter().zip(&columns).filter_map(|(name, texts)| {
                let text = texts.get(row)?.as_deref()?;
                let name = name.trim_end_matches("_sha256");
                Some(format!("{name} {text}"))
            });
            models.push(parts.collect::<Vec<_>>().join(", "));
        }
    }
    Ok(models)
}

/// The images with the highest or lowest scores, each content once.
async fn extreme(
    table: &Table<'_>,
    order: &str,
    images: usize,
) -> Result<Vec<Candidate>, Failure> {
    let sql = format!(
        "SELECT filename, labels, {} FROM {} WHERE labels[1]['score'] IS NOT NULL \
         ORDER BY labels[1]['score'] {order}, filename LIMIT {}",
        table.or_null("content_sha256"),
        table.source,
        images * CANDIDATES
    );
    let mut chosen: Vec<Candidate> = Vec::new();
    for batch in table.rows(&sql).await? {
        for candidate in candidates(&batch)? {
            let is_new = candidate.sha256.is_none()
                || chosen.iter().all(|other| other.sha256 != candidate.sha256);
            if is_new && chosen.len() < images {
                chosen.push(candidate);
            }
        }
    }
    Ok(chosen)
}

fn candidates(batch: &RecordBatch) -> Result<Vec<Candidate>, Failure> {
    let text = |name: &str| column(batch, name).map(texts).transpose();
    let (names, digests) = (text("filename")?, text("content_sha256")?);
    let Some(labels) = column(batch, "labels").map(lists).transpose()? else {
        return Ok(Vec::new());
    };
    let rows = names
        .unwrap_or_default()
        .into_iter()
        .zip(digests.unwrap_or_default());
    rows.enumerate()
        .map(|(row, (filename, sha256))| {
            let list = labels.value(row);
            let names = field(&list, "label").map(texts).transpose()?;
            let scores = field(&list, "score").map(numbers).transpose()?;
            let labels = names
                .unwrap_or_default()
                .into_iter()
                .zip(scores.unwrap_or_default());
            let labels = labels.filter_map(|(name, score)| Some((name?, score?)));
            Ok(Candidate {
                image: LabelledImage {
                    filename: filename.unwrap_or_default(),
                    labels: labels.collect(),
                    ..LabelledImage::default()
                },
                sha256,
            })
        })
        .collect()
}
