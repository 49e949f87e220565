//! Runs the statements about models that have names.

use std::sync::Arc;

use atoll_jobs::WrittenFile;
use atoll_udf_common::args::{bytes_at, string_at};
use atoll_udf_common::model::names::{
    Changed, Reference, Resolved, Version, Which, resolve,
};
use atoll_udf_common::model::{BYTES, ModelFailure, checked};
use atoll_udf_common::{CallContext, Location, StoreError};
use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, internal_err, plan_err,
};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use object_store::PutMode;

use crate::Session;
use crate::origin::Origin;
use crate::sql::{ModelAction, ModelCommand, Source, model_names};

/// What a query, or a FROM, gave for a model.
enum Given {
    /// The path or URL of a file, a hash, or the name of another model.
    Named {
        text: String,
        trial_id: Option<String>,
    },
    /// The bytes of an ONNX file.
    Bytes(Bytes),
}

/// The models of a storage that have names, as `atoll doctor` sees them.
#[derive(Debug, Clone)]
pub struct ModelState {
    /// How many names there are.
    pub names: usize,
    /// How many versions they have.
    pub versions: usize,
    /// Versions whose files are gone, as `digits@2`.
    pub missing: Vec<String>,
}

impl Session {
    /// Which models have names, and whether their files are there.
    pub async fn model_state(&self) -> Result<ModelState> {
        let names = model_names(&self.context.state())?;
        let models = names.all().await?;
        let mut state = ModelState {
            names: models.len(),
            versions: 0,
            missing: vec![],
        };
        for model in &models {
            for version in &model.versions {
                state.versions += 1;
                let which = Which::Number(version.number);
                let resolved = names.version(model, &which).map_err(in_words)?;
                if !resolved.location.exists().await? {
                    state.missing.push(resolved.name);
                }
            }
        }
        Ok(state)
    }

    /// Runs a statement about a model, and gives what it reports.
    pub(crate) async fn model_command(
        &self,
        command: &ModelCommand,
        origin: &Origin,
    ) -> Result<RecordBatch> {
        let names = model_names(&self.context.state())?;
        let name = command.name.as_str();
        let change = command.to_string();
        let columns = match &command.action {
            ModelAction::Create {
                or_replace,
                if_not_exists,
                from,
            } => {
                let how = (*or_replace, *if_not_exists);
                let input = command.input.as_ref();
                let model = self.create_model(name, from, input, how, origin).await?;
                vec![
                    text(name),
                    number(model.number),
                    text(&model.sha256),
                    text(&model.location.to_string()),
                ]
            }
            ModelAction::SetAlias { alias, to } => {
                let version = names.set_alias(name, alias, to, &change).await?;
                vec![text(name), text(alias), number(version)]
            }
            ModelAction::DropAlias { alias } => {
                names.drop_alias(name, alias, &change).await?;
                vec![]
            }
            ModelAction::DropVersion { number } => {
                names.drop_version(name, *number, &change).await?;
                vec![]
            }
            ModelAction::Copy { which, target } => {
                let reference = Reference {
                    name: name.to_string(),
                    which: which.clone(),
                };
                copy_model(&names.resolve(&reference).await?, target, origin).await?
            }
            ModelAction::Drop { if_exists } => {
                if !names.drop_model(name, &change).await? && !if_exists {
                    names.expect(name).await?;
                }
                vec![]
            }
        };
        let schema = Arc::new(command.action.schema());
        if columns.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Runs CREATE MODEL. The query is not run where its model would not be kept.
    async fn create_model(
        &self,
        name: &str,
        from: &Source,
        input: Option<&LogicalPlan>,
        (or_replace, if_not_exists): (bool, bool),
        origin: &Origin,
    ) -> Result<Resolved> {
        let state = self.context.state();
        let names = model_names(&state)?;
        let newest = |model| names.version(&model, &Which::Newest).map_err(in_words);
        if let Some(model) = names.find(name).await? {
            let is_again = model
                .get(&Which::Newest)
                .is_some_and(|newest| newest.statement == origin.statement);
            match (or_replace, if_not_exists) {
                (_, true) => return newest(model),
                // It may be run again because nobody heard of its end.
                (false, false) if origin.id.is_none() || !is_again => {
                    return exec_err!(
                        "there is a model {name}; CREATE OR REPLACE MODEL {name} adds a \
                         version"
                    );
                }
                _ => {}
            }
        }
        let given = self.given(name, from, input).await?;
        let context = CallContext::of(state.config());
        let (source, trial_id, bytes) = match given {
            Given::Bytes(bytes) => (None, None, bytes),
            Given::Named { text, trial_id } => {
                let file = self.model_file(&text).await?;
                let bytes = read(&text, &file).await?;
                (Some(file.to_string()), trial_id, bytes)
            }
        };
        let shown = source.as_deref().unwrap_or(BYTES);
        checked(shown, bytes.clone(), &context)
            .await
            .map_err(|error| exec_datafusion_err!("CREATE MODEL {name}: {error}"))?;
        let size = bytes.len();
        let version = Version {
            trial_id,
            source,
            statement: origin.statement.clone(),
            ..Version::new(names.keep(bytes).await?, size)
        };
        let change = origin.statement.clone().unwrap_or_default();
        let added = names
            .add(name, &version, or_replace, if_not_exists, &change)
            .await?;
        if let Changed::Same(number) = added {
            context.warnings.add(format!(
                "version {number} of model {name} has the same content, so no version was \
                 added"
            ));
        }
        // Another writer may have added the next one meanwhile.
        let mine = match added {
            Changed::Added(number) | Changed::Same(number) => Which::Number(number),
            Changed::Existed => Which::Newest,
        };
        let model = names.expect(name).await?;
        names.version(&model, &mine).map_err(in_words)
    }

    /// What FROM names, or what the query gives.
    async fn given(
        &self,
        name: &str,
        from: &Source,
        input: Option<&LogicalPlan>,
    ) -> Result<Given> {
        match (from, input) {
            (Source::Named(text), _) => Ok(Given::Named {
                text: text.clone(),
                trial_id: None,
            }),
            (Source::Query, Some(query)) => {
                let rows = Box::pin(self.run_quietly(query.clone(), Origin::default()));
                given(name, rows.await?).await
            }
            (Source::Query, None) => internal_err!("CREATE MODEL .. AS has no query"),
        }
    }

    /// The file that a text names: a path or URL, another model, or the hash of one that
    /// the storage has.
    async fn model_file(&self, text: &str) -> Result<Location> {
        let state = self.context.state();
        let context = CallContext::of(state.config());
        let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hash {
            let file = model_names(&state)?.file_of(&text.to_ascii_lowercase())?;
            if file.exists().await? {
                return Ok(file);
            }
        }
        let named = resolve(text, &self.storage(), &context).await;
        match named.map_err(in_words)? {
            Some(named) => Ok(named.location),
            None => context.locate(text),
        }
    }
}

async fn read(text: &str, file: &Location) -> Result<Bytes> {
    if file.local_path().is_some_and(|path| path.is_dir()) {
        return plan_err!("{text} is a folder; name the .onnx file in it");
    }
    file.read().await
}

fn in_words(failure: ModelFailure) -> DataFusionError {
    DataFusionError::Execution(failure.message)
}

/// The one row of a query. More of them are not read.
async fn given(name: &str, mut rows: SendableRecordBatchStream) -> Result<Given> {
    let mut found: Option<ArrayRef> = None;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || found.is_some() {
            return exec_err!(
                "CREATE MODEL {name}: the query gives several rows and must give one; add \
                 ORDER BY .. LIMIT 1"
            );
        }
        found = Some(Arc::clone(batch.column(0)));
    }
    let Some(value) = found else {
        return exec_err!(
            "CREATE MODEL {name}: the query gives no row and must give one, the path of the \
             model"
        );
    };
    let no_model = |why: &str| {
        exec_datafusion_err!(
            "CREATE MODEL {name}: the query gives NULL{why}; leave out trials without a \
             model: WHERE trial['status'] = 'SUCCEEDED'"
        )
    };
    if value.is_null(0) {
        return Err(no_model(""));
    }
    match value.data_type() {
        DataType::Struct(_) => {
            let trial = value.as_struct();
            let field = |name: &str| {
                let column = trial.column_by_name(name)?;
                let is_text = atoll_udf_common::args::is_text(column.data_type());
                let text = is_text.then(|| string_at(column, 0)).flatten();
                text.map(str::to_string)
            };
            let Some(text) = field("model") else {
                let why = field("status").map(|status| format!(": the trial {status}"));
                return Err(no_model(&why.unwrap_or_default()));
            };
            Ok(Given::Named {
                text,
                trial_id: field("trial_id"),
            })
        }
        data_type if atoll_udf_common::args::is_text(data_type) => {
            match string_at(&value, 0) {
                Some(text) => Ok(Given::Named {
                    text: text.to_string(),
                    trial_id: None,
                }),
                None => Err(no_model("")),
            }
        }
        _ => match bytes_at(&value, 0) {
            Some(bytes) => Ok(Given::Bytes(Bytes::copy_from_slice(bytes))),
            None => Err(no_model("")),
        },
    }
}

/// Runs COPY MODEL: the file is the same, bit by bit, and replaces what was there.
async fn copy_model(
    model: &Resolved,
    target: &str,
    origin: &Origin,
) -> Result<Vec<ArrayRef>> {
    let file = Location::parse(target)?;
    let is_folder = file.local_path().is_some_and(|path| path.is_dir());
    if is_folder || target.ends_with('/') || file.path.as_ref().is_empty() {
        return plan_err!(
            "COPY MODEL writes a file, got the folder '{target}'; name a file in it, such \
             as '{}/{}.onnx'",
            target.trim_end_matches('/'),
            model.name.split('@').next().unwrap_or_default()
        );
    }
    let bytes = model.location.read().await?;
    let size = bytes.len() as u64;
    let written = file
        .store
        .put_opts(&file.path, bytes.into(), PutMode::Overwrite.into())
        .await;
    written.map_err(|error| {
        StoreError::new(&format!("cannot write {file}"), &file, error)
    })?;
    if let Some(log) = &origin.log {
        log.add([WrittenFile {
            path: file.to_string(),
            bytes: size,
            sha256: model.sha256.clone(),
        }]);
    }
    Ok(vec![
        text(&file.to_string()),
        number(size),
        text(&model.sha256),
        number(model.number),
    ])
}

fn number(number: u64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![i64::try_from(number).ok()]))
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}
