//! Files behind paths and URLs, with one lazy registry of object stores.
//!
//! Credentials come from the environment of the process (`AWS_ACCESS_KEY_ID`,
//! `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, ...) and
//! never from SQL, where they would end up in plans and logs.

use std::collections::HashMap;
use std::fmt::{self, Debug, Display, Formatter};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::{StreamExt, TryStreamExt, future, stream};
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, parse_url_opts};
use url::{Position, Url};

use crate::store_error::StoreError;

/// How many files are looked for at once.
const LOOKS: usize = 16;

/// Environment variables that configure an object store.
const ENVIRONMENT: [&str; 3] = ["aws_", "google_", "azure_"];

/// A file or folder in an object store; the local file system is one.
#[derive(Debug, Clone)]
pub struct Location {
    /// The store that holds it.
    pub store: Arc<dyn ObjectStore>,
    /// Where in the store it is.
    pub path: Path,
    /// Its URL; `file://` for local paths.
    pub url: Url,
    /// The key as the text has it, where that is another one.
    as_written: Option<Path>,
}

impl Location {
    /// Understands a URL (`s3://`, `gs://`, `az://`, `http://`, `https://`, `file://`)
    /// or a local path, absolute, relative or below `~`.
    ///
    /// A path is taken as it is written. In a URL `%20` is a blank, but for a file of
    /// this machine that is called so; `?` and `#` are part of a name, but on the web.
    pub fn parse(location: &str) -> Result<Self> {
        Self::parse_from(None, location)
    }

    /// The same, with relative paths below `directory` instead of the process's own.
    pub fn parse_from(directory: Option<&FilePath>, location: &str) -> Result<Self> {
        let url = parse_url(directory, location)?;
        if url.query().is_some() && url.scheme().starts_with("http") {
            // The store would drop the query and fetch something else.
            return exec_err!(
                "URLs with a query (?...) cannot be fetched: {location}; download the \
                 file first"
            );
        }
        let (Opened { store, .. }, path) = STORES.open(&url)?;
        let (_, key) = cut(location);
        let is_store = url.scheme() != "file" && !url.scheme().starts_with("http");
        let is_escaped = is_store && key.contains('%');
        let as_written = is_escaped.then(|| Path::parse(key).ok()).flatten();
        Ok(Self {
            store,
            path,
            url,
            as_written,
        })
    }

    /// Something below this folder; `relative` uses `/` whatever the platform.
    pub fn join(&self, relative: &str) -> Result<Self> {
        let names = relative.split('/').filter(|name| !name.is_empty());
        let mut path = self.path.as_ref().to_string();
        for name in names {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
        }
        let path = Path::parse(path)
            .map_err(|error| exec_datafusion_err!("not a valid location: {error}"))?;
        Ok(self.at(path))
    }

    /// Another place in the same store.
    pub fn at(&self, path: Path) -> Self {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.set_path("");
        if let Ok(mut names) = url.path_segments_mut() {
            names.pop_if_empty().extend(path.parts());
        }
        Self {
            store: Arc::clone(&self.store),
            path,
            url,
            as_written: None,
        }
    }

    /// The place that the text means if it is no URL but names a key as it is: `%20` is
    /// that and no blank.
    pub(crate) fn as_written(&self) -> Option<Self> {
        self.as_written.clone().map(|path| self.at(path))
    }

    /// The URL of this folder, which ends with a slash.
    pub fn folder_url(&self) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut names) = url.path_segments_mut() {
            names.pop_if_empty().push("");
        }
        url
    }

    /// What gives single pages of the store's listings, if it can.
    pub(crate) fn pages(&self) -> Option<Pages> {
        STORES.open(&self.url).ok()?.0.pages
    }

    /// The local path, if this is a file or folder of this machine.
    pub fn local_path(&self) -> Option<PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok())?
    }

    /// The whole content.
    pub async fn read(&self) -> Result<Bytes> {
        let found = match (self.content(&self.path).await, &self.as_written) {
            (Err(object_store::Error::NotFound { .. }), Some(path)) => {
                self.content(path).await
            }
            (found, _) => found,
        };
        found.map_err(|error| self.error(error))
    }

    async fn content(&self, path: &Path) -> object_store::Result<Bytes> {
        self.store.get(path).await?.bytes().await
    }

    /// Files that the file here names by paths relative to its own folder, such as the
    /// weights of a model. The caller has checked that these do not lead out of it by
    /// their text; links to files elsewhere are refused here.
    pub async fn read_beside(&self, names: &[String]) -> Result<Vec<(String, Bytes)>> {
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let file = match self.local_path() {
                Some(path) => read_local_beside(&path, name)?,
                None => {
                    let url = self.url.join(&encoded(name)).map_err(|error| {
                        exec_datafusion_err!("not a file beside {self}: {name}: {error}")
                    })?;
                    Self::parse(url.as_str())?.read().await?
                }
            };
            files.push((name.clone(), file));
        }
        Ok(files)
    }

    /// Whether the file is there.
    pub async fn exists(&self) -> Result<bool> {
        match self.store.head(&self.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Whether all of these files are there.
    pub async fn all_exist(files: Vec<Self>) -> Result<bool> {
        let looks = stream::iter(files).map(|file| async move { file.exists().await });
        let looks = looks.buffer_unordered(LOOKS);
        looks.try_all(future::ready).await
    }

    /// Writes a file unless it is there; whether it was written. Of several that do so at
    /// once, one writes.
    pub async fn create(&self, content: PutPayload) -> object_store::Result<bool> {
        let mode = PutMode::Create.into();
        match self.store.put_opts(&self.path, content, mode).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Translates an error of the store, naming this location.
    pub fn error(&self, error: object_store::Error) -> DataFusionError {
        StoreError::reading(self, error).into()
    }
}

/// The text of a relative path as a part of a URL.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Reads a file by its path relative to the folder of another. A link may lead only to
/// where the other file lies, as downloads that keep their files under other names have it.
pub fn read_local_beside(file: &FilePath, name: &str) -> Result<Bytes> {
    let folder = file.parent().unwrap_or(file);
    let path = folder.join(name);
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            exec_datafusion_err!("file not found: {}; check the path", path.display())
        }
        _ => exec_datafusion_err!("cannot read {}: {error}", path.display()),
    };
    let real = path.canonicalize().map_err(missing)?;
    let homes = [folder.canonicalize(), file.canonicalize()];
    let [folder, file] = homes.map(|home| home.unwrap_or_default());
    let is_inside = |home: &FilePath| home.is_absolute() && real.starts_with(home);
    if !is_inside(&folder) && !file.parent().is_some_and(is_inside) {
        return exec_err!(
            "{} is a link to a file outside of its folder, {}",
            path.display(),
            real.display()
        );
    }
    std::fs::read(&real).map(Bytes::from).map_err(missing)
}

/// A local file shows as its path, anything else as its URL.
impl Display for Location {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.local_path() {
            Some(path) => write!(f, "{}", path.display()),
            None => write!(f, "{}", self.url),
        }
    }
}

/// The session's storage: where snapshots, trials, models and tables are kept.
pub fn storage_root(options: &ConfigOptions) -> Result<Location> {
    Location::parse(&crate::AtollOptions::get(options).storage)
}

/// The last error in a chain. Stores wrap what matters in several layers of context.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether a URL is one of a web server.
pub(crate) fn is_web(text: &str) -> bool {
    let scheme = text.get(.."http".len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))
}

/// A URL cut where the store ends (`s3://bucket`) and the key begins.
pub(crate) fn cut(text: &str) -> (&str, &str) {
    let after = text.find("://").map_or(0, |at| at + 3);
    let root = text[after..].find('/').map_or(text.len(), |at| after + at);
    (&text[..root], text[root..].trim_start_matches('/'))
}

fn parse_url(directory: Option<&FilePath>, location: &str) -> Result<Url> {
    let Some(path) = local_path(directory, location) else {
        // Only a web server takes them for syntax.
        let text = match is_web(location) {
            true => location.to_string(),
            false => location.replace('?', "%3F").replace('#', "%23"),
        };
        return Url::parse(&text)
            .map_err(|error| exec_datafusion_err!("not a URL: {location}: {error}"));
    };
    let absolute = std::path::absolute(&path)
        .map_err(|error| exec_datafusion_err!("not a path: '{location}': {error}"))?;
    Url::from_file_path(without_dots(&absolute))
        .map_err(|()| exec_datafusion_err!("not a path: '{location}'"))
}

/// The path that a text means, if it means a file or folder of this machine.
///
/// `file:///a%20b` is the file `a b`, as URLs are read, unless there is none and one that
/// is called `a%20b`.
pub(crate) fn local_path(directory: Option<&FilePath>, text: &str) -> Option<PathBuf> {
    if let Some((scheme, rest)) = text.split_once("://") {
        if !scheme.eq_ignore_ascii_case("file") {
            return None;
        }
        let as_written = PathBuf::from(rest.strip_prefix("localhost").unwrap_or(rest));
        let url = rest.replace('?', "%3F").replace('#', "%23");
        let url = Url::parse(&format!("file://{url}")).ok();
        let decoded = url.and_then(|url| url.to_file_path().ok());
        return Some(match decoded {
            Some(decoded) if decoded.exists() || !as_written.exists() => decoded,
            _ => as_written,
        });
    }
    Some(match text.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((below, home)) => home.join(below),
        None => match directory {
            Some(directory) => directory.join(text),
            None => PathBuf::from(text),
        },
    })
}

/// Resolves `..` by its text, as a shell's `cd` does: object stores know no `..`.
pub(crate) fn without_dots(path: &FilePath) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// Every object store of the process, opened when first used.
#[derive(Default)]
pub struct Stores {
    by_authority: Mutex<HashMap<String, Opened>>,
}

impl Debug for Stores {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// What gives one page of a listing.
pub(crate) type Pages = Arc<dyn PaginatedListStore>;

/// A store, and what gives single pages of its listings if it can.
#[derive(Clone)]
struct Opened {
    store: Arc<dyn ObjectStore>,
    pages: Option<Pages>,
}

static STORES: LazyLock<Arc<Stores>> = LazyLock::new(Arc::default);

impl Stores {
    /// The registry that every session of the process shares.
    pub fn shared() -> Arc<Self> {
        Arc::clone(&STORES)
    }

    fn open(&self, url: &Url) -> Result<(Opened, Path)> {
        let path = match url.scheme() {
            "file" => {
                let path = url.to_file_path().ok();
                path.and_then(|path| Path::from_absolute_path(path).ok())
            }
            _ => Path::from_url_path(url.path()).ok(),
        };
        let Some(path) = path else {
            return exec_err!("not a valid location: {url}");
        };
        let authority = &url[..Position::BeforePath];
        let mut stores = self
            .by_authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = stores.get(authority) {
            return Ok((opened.clone(), path));
        }
        let opened = connect(url)?;
        stores.insert(authority.to_string(), opened.clone());
        Ok((opened, path))
    }
}

fn connect(url: &Url) -> Result<Opened> {
    if url.scheme() == "file" {
        return Ok(Opened {
            store: Arc::new(LocalFileSystem::new()),
            pages: None,
        });
    }
    let mut options: Vec<(String, String)> = std::env::vars()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| ENVIRONMENT.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    if url.scheme() == "http" {
        options.push(("allow_http".to_string(), "true".to_string()));
    }
    opened(url, options).map_err(|error| {
        exec_datafusion_err!(
            "cannot open {}: {}; supported are local paths, s3://, gs://, az://, \
             http:// and https://",
            &url[..Position::BeforePath],
            root_cause(&error)
        )
    })
}

/// Does what `parse_url_opts` does, but keeps the stores that give pages as what they are.
fn opened(url: &Url, options: Vec<(String, String)>) -> object_store::Result<Opened> {
    match url.scheme() {
        "s3" | "s3a" => {
            let builder = AmazonS3Builder::new().with_url(url.as_str());
            let builder = options.into_iter().fold(builder, |builder, (key, value)| {
                match key.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                }
            });
            let store = Arc::new(builder.build()?);
            let pages = Some(Arc::clone(&store) as Pages);
            Ok(Opened { store, pages })
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::new().with_url(url.as_str());
            let builder = options.into_iter().fold(builder, |builder, (key, value)| {
                match key.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                }
            });
            let store = Arc::new(builder.build()?);
            let pages = Some(Arc::clone(&store) as Pages);
            Ok(Opened { store, pages })
        }
        _ => {
            let (store, _) = parse_url_opts(url, options)?;
            let store = Arc::from(store);
            Ok(Opened { store, pages: None })
        }
    }
}

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        let mut stores = self
            .by_authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let opened = Opened { store, pages: None };
        let before = stores.insert(url[..Position::BeforePath].to_string(), opened);
        before.map(|before| before.store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.open(url)?.0.store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_need_no_scheme() {
        let location = Location::parse("/data/../photos/a b ü.jpg").unwrap();
        assert_eq!(location.to_string(), "/photos/a b ü.jpg");
        assert_eq!(location.path.as_ref(), "photos/a b ü.jpg");
    }

    #[test]
    fn join_goes_below() {
        let root = Location::parse("/store/").unwrap();
        let below = root.join("models/a.onnx").unwrap();
        assert_eq!(below.to_string(), "/store/models/a.onnx");
    }

    #[test]
    fn names_below_a_folder_are_taken_as_they_are() {
        let root = Location::parse("/store 100%25/[x]").unwrap();
        let below = root.join("a#b?/p=%C3%96.csv").unwrap();
        assert_eq!(below.to_string(), "/store 100%25/[x]/a#b?/p=%C3%96.csv");
        let again = Location::parse(below.url.as_str()).unwrap();
        assert_eq!(again.path, below.path);
        assert_eq!(root.folder_url().path(), "/store%20100%2525/[x]/");
    }

    #[test]
    fn keys_have_characters_that_urls_use() {
        let location = Location::parse("s3://bucket/a#b?c%20d.csv").unwrap();
        assert_eq!(location.path.as_ref(), "a#b?c d.csv");
        let written = location.as_written().unwrap();
        assert_eq!(written.path.as_ref(), "a#b?c%20d.csv");
    }

    #[test]
    fn a_strange_scheme_is_named_with_what_works() {
        let error = Location::parse("ftp://host/file").unwrap_err().to_string();
        assert!(error.contains("ftp://host"), "{error}");
        assert!(error.contains("s3://"), "{error}");
    }

    #[test]
    fn a_query_is_refused_and_not_dropped() {
        let error = Location::parse("https://host/a.jpg?id=7")
            .unwrap_err()
            .to_string();
        assert!(error.contains("https://host/a.jpg?id=7"), "{error}");
    }

    #[tokio::test]
    async fn files_beside_another_are_read() {
        let folder = std::env::temp_dir().join(format!("beside-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("models/parts")).unwrap();
        let write = |name: &str| std::fs::write(folder.join(name), name).unwrap();
        write("models/parts/a b#1.bin");
        write("outside.bin");
        let model = folder.join("models/m.onnx").display().to_string();
        let model = Location::parse(&model).unwrap();
        let read = async |name: &str| model.read_beside(&[name.to_string()]).await;
        let files = read("parts/a b#1.bin").await.unwrap();
        assert_eq!(files[0].1, "models/parts/a b#1.bin".as_bytes());
        let error = read("no.bin").await.unwrap_err().to_string();
        assert!(error.contains("models/no.bin; check the path"), "{error}");
        #[cfg(unix)]
        {
            let link = folder.join("models/link.bin");
            std::os::unix::fs::symlink(folder.join("outside.bin"), link).unwrap();
            let error = read("link.bin").await.unwrap_err().to_string();
            assert!(error.contains("is a link to a file outside"), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_relative_path_becomes_a_part_of_a_url() {
        let url = Url::parse("s3://bucket/models/m.onnx").unwrap();
        let url = url.join(&encoded("./sub/a b?#%.bin")).unwrap();
        assert_eq!(url.as_str(), "s3://bucket/models/sub/a%20b%3F%23%25.bin");
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let error = Location::parse("/no/such/file")
            .unwrap()
            .read()
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("file not found: /no/such/file"),
            "{error}"
        );
    }
}
