//! The objects below a folder of a store, by several requests at once.
//!
//! A store gives a thousand keys a request, and the next thousand only after them. What
//! makes a listing fast is to ask for ranges of the keys at the same time, so a range
//! whose end is far is cut where folders begin, or where keys go on with another letter or
//! digit, for as long as there are requests to spare. Objects of one range come in the
//! order of their keys, ranges in any.

use std::collections::VecDeque;

use datafusion::common::{DataFusionError, Result, exec_err};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;
use object_store::path::Path;

use crate::Location;

/// How many requests a listing has under way.
pub(super) const AT_ONCE: usize = 16;

/// How many objects are passed on together: those that a store gives at a time.
pub(super) const PAGE: usize = 1000;

/// A range is cut after so many of its objects. One that ends soon is not worth the
/// request that says where.
const BEFORE_CUT: usize = 4 * PAGE;

/// How many folders deep is looked for where to cut a range.
const DEPTH: usize = 6;

/// The keys below a folder that come after one and up to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The keys begin after this one.
    pub after: Option<Path>,
    /// The last key, or what stands in the place where it would.
    pub until: Option<Path>,
}

impl KeyRange {
    /// Cuts the range into at most so many, at places that lie in it, in order.
    pub(super) fn cut(&self, places: &[Path], parts: usize) -> Vec<Self> {
        let cuts = parts.saturating_sub(1).min(places.len());
        let chosen = (1..=cuts).map(|cut| &places[cut * places.len() / (cuts + 1)]);
        let mut ranges = vec![];
        let mut after = self.after.clone();
        for place in chosen {
            if after.as_ref() == Some(place) {
                continue;
            }
            let until = Some(place.clone());
            ranges.push(Self {
                after: after.replace(place.clone()),
                until,
            });
        }
        ranges.push(Self {
            after,
            until: self.until.clone(),
        });
        ranges
    }
}

/// Whether a store gives keys in their order and from any of them on. Where it does not,
/// as in a directory bucket or in Azure, keys come one page after the other.
fn has_ranges(location: &Location) -> bool {
    let url = &location.url;
    let is_directory = url.host_str().is_some_and(|host| host.ends_with("--x-s3"));
    matches!(url.scheme(), "s3" | "s3a" | "gs") && !is_directory
}

/// Objects of a store, some at a time.
pub(super) type Objects = BoxStream<'static, Result<Vec<ObjectMeta>>>;

/// The objects of a range one page after the other, in the order of the store.
pub(super) fn one_by_one(location: &Location, range: &KeyRange) -> Objects {
    let (store, folder) = (&location.store, Some(&location.path));
    let objects = match &range.after {
        Some(after) => store.list_with_offset(folder, after),
        None => store.list(folder),
    };
    let location = location.clone();
    let pages = objects.ready_chunks(PAGE).map(move |page| {
        let page: Result<Vec<_>, _> = page.into_iter().collect();
        page.map_err(|error| location.error(error))
    });
    pages.boxed()
}

/// The objects of a range, at most so many requests at once.
pub(super) fn at_once(location: Location, range: KeyRange, requests: usize) -> Objects {
    if !has_ranges(&location) {
        return one_by_one(&location, &range);
    }
    let lister = Lister {
        location,
        requests,
        waiting: VecDeque::from([range]),
        running: FuturesUnordered::new(),
        has_cut: false,
    };
    let pages = futures::stream::try_unfold(lister, |mut lister| async move {
        let page = lister.next().await?;
        Ok(page.map(|page| (page, lister)))
    });
    pages.boxed()
}

/// Lists ranges of a folder's keys.
struct Lister {
    location: Location,
    requests: usize,
    /// Ranges that nobody lists yet.
    waiting: VecDeque<KeyRange>,
    running: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Whether the keys were cut into ranges, which is right only if they have an order.
    has_cut: bool,
}

/// A range that is being listed.
struct Running {
    pages: Objects,
    range: KeyRange,
    /// How many objects it gave since it was last looked for where to cut it.
    objects: usize,
    /// After how many it is looked.
    before_cut: usize,
}

/// What came of a request.
enum Step {
    Page(Running, Option<Result<Vec<ObjectMeta>>>),
    Places(Running, Result<Vec<Path>>),
}

impl Lister {
    /// The next objects.
    async fn next(&mut self) -> Result<Option<Vec<ObjectMeta>>> {
        loop {
            while self.running.len() < self.requests
                && let Some(range) = self.waiting.pop_front()
            {
                // What is listed first is cut as soon as it shows to be long.
                let before_cut = if self.has_cut { BEFORE_CUT } else { 1 };
                let running = Running {
                    pages: one_by_one(&self.location, &range),
                    range,
                    objects: 0,
                    before_cut,
                };
                self.running.push(page(running));
            }
            match self.running.next().await {
                None => return Ok(None),
                Some(Step::Page(_, None)) => {}
                Some(Step::Page(running, Some(objects))) => {
                    let objects = self.enter(running, objects?)?;
                    if !objects.is_empty() {
                        return Ok(Some(objects));
                    }
                }
                Some(Step::Places(mut running, places)) => {
                    let idle = self.requests.saturating_sub(self.running.len());
                    let mut ranges = running.range.cut(&places?, idle.max(1));
                    self.has_cut |= ranges.len() > 1;
                    running.range = ranges.remove(0);
                    self.waiting.extend(ranges);
                    self.running.push(page(running));
                }
            }
        }
    }

    /// Takes a page of a range; its objects.
    fn enter(
        &mut self,
        mut running: Running,
        mut objects: Vec<ObjectMeta>,
    ) -> Result<Vec<ObjectMeta>> {
        let has_order = objects
            .windows(2)
            .all(|pair| pair[0].location < pair[1].location);
        if !has_order {
            if self.has_cut {
                return exec_err!(
                    "{} lists its keys in no order, so that some would be missing; name \
                     its folders one by one",
                    self.location
                );
            }
            running.before_cut = usize::MAX;
        }
        if let Some(until) = &running.range.until {
            let end = objects.partition_point(|object| object.location <= *until);
            if end < objects.len() {
                objects.truncate(end);
                return Ok(objects);
            }
        }
        running.range.after = objects.last().map(|object| object.location.clone());
        running.objects += objects.len();
        // This one and those that wait take a request each.
        let idle = self.running.len() + self.waiting.len() + 1 < self.requests;
        if idle && running.objects >= running.before_cut {
            running.objects = 0;
            running.before_cut = running.before_cut.max(BEFORE_CUT).saturating_mul(2);
            self.running.push(places(self.location.clone(), running));
        } else {
            self.running.push(page(running));
        }
        Ok(objects)
    }
}

fn page(mut running: Running) -> BoxFuture<'static, Step> {
    async move {
        let page = running.pages.next().await;
        Step::Page(running, page)
    }
    .boxed()
}

fn places(location: Location, running: Running) -> BoxFuture<'static, Step> {
    async move {
        let places = match folders_in(&location, &running.range).await {
            Ok(folders) if folders.is_empty() && running.before_cut > 2 * BEFORE_CUT => {
                letters_in(&location, &running.range).await
            }
            folders => folders,
        };
        Step::Places(running, places)
    }
    .boxed()
}

/// Folders that begin within a range, in order: the outermost of which there are any.
async fn folders_in(location: &Location, range: &KeyRange) -> Result<Vec<Path>> {
    let mut folder = location.path.clone();
    for _ in 0..DEPTH {
        let all = folders(location, &folder, range.after.as_ref()).await?;
        let is_in = |path: &Path| {
            range.after.as_ref().is_none_or(|after| path > after)
                && range.until.as_ref().is_none_or(|until| path < until)
        };
        let mut found: Vec<Path> =
            all.iter().filter(|path| is_in(path)).cloned().collect();
        found.sort();
        if !found.is_empty() {
            return Ok(found);
        }
        // All that is left lies in the folder of the last key.
        let around = |path: &&Path| {
            let after = range.after.as_ref();
            after.is_some_and(|after| after.prefix_matches(path))
        };
        match all.iter().find(around) {
            Some(around) => folder = around.clone(),
            None => break,
        }
    }
    Ok(vec![])
}

/// Places within a range of keys that lie in one folder, where its keys go on with another
/// letter or digit than its first one. Nobody knows how many keys lie between them.
async fn letters_in(location: &Location, range: &KeyRange) -> Result<Vec<Path>> {
    let Some(first) = &range.after else {
        return Ok(vec![]);
    };
    let key: Vec<char> = first.as_ref().chars().collect();
    let folder = match location.path.as_ref() {
        "" => 0,
        path => path.chars().count() + 1,
    };
    // Keys that go on with another letter than `key` after this many of its own.
    let beyond = async |kept: usize| {
        let Some(next) = char::from_u32(u32::from(key[kept]) + 1) else {
            return Ok(None);
        };
        let place: String = key[..kept].iter().chain([&next]).collect();
        let found = first_after(location, &place).await?;
        let is_in = |key: &Path| range.until.as_ref().is_none_or(|until| key < until);
        Ok::<_, DataFusionError>(found.filter(is_in))
    };
    // The more of the key is kept, the more keys lie beyond.
    let (mut kept, mut found) = (key.len(), None);
    let (mut low, mut high) = (folder, key.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match beyond(middle).await? {
            Some(other) => (kept, found, high) = (middle, Some(other), middle),
            None => low = middle + 1,
        }
    }
    let other = found.and_then(|other| other.as_ref().chars().nth(kept));
    let Some(other) = other else {
        return Ok(vec![]);
    };
    let last = match other {
        '0'..='9' => '9',
        'a'..='z' => 'z',
        'A'..='Z' => 'Z',
        other => other,
    };
    let kept: String = key[..kept].iter().collect();
    let places =
        (other..=last).filter_map(|next| Path::parse(format!("{kept}{next}")).ok());
    let is_in = |place: &Path| {
        place > first && range.until.as_ref().is_none_or(|until| place < until)
    };
    Ok(places.filter(is_in).collect())
}

/// The first key after a text.
async fn first_after(location: &Location, text: &str) -> Result<Option<Path>> {
    let folder = &location.path;
    let first = match location.pages() {
        Some(pages) => {
            let options = PaginatedListOptions {
                offset: Some(text.to_string()),
                max_keys: Some(1),
                ..PaginatedListOptions::default()
            };
            let page = pages
                .list_paginated(prefix_of(folder).as_deref(), options)
                .await;
            page.map(|page| page.result.objects.into_iter().next())
        }
        None => {
            let Ok(offset) = Path::parse(text) else {
                return Ok(None);
            };
            let mut objects = location.store.list_with_offset(Some(folder), &offset);
            objects.next().await.transpose()
        }
    };
    let first = first.map_err(|error| location.error(error))?;
    Ok(first.map(|object| object.location))
}

/// What the keys below a folder begin with.
fn prefix_of(folder: &Path) -> Option<String> {
    match folder.as_ref() {
        "" => None,
        folder => Some(format!("{folder}/")),
    }
}

/// The folders right below a folder, at most a page of them, after a key.
async fn folders(
    location: &Location,
    folder: &Path,
    after: Option<&Path>,
) -> Result<Vec<Path>> {
    let listed = match location.pages() {
        Some(pages) => {
            let options = PaginatedListOptions {
                offset: after.map(ToString::to_string),
                delimiter: Some("/".into()),
                ..PaginatedListOptions::default()
            };
            let page = pages
                .list_paginated(prefix_of(folder).as_deref(), options)
                .await;
            page.map(|page| page.result)
        }
        None => location.store.list_with_delimiter(Some(folder)).await,
    };
    let listed = listed.map_err(|error| location.error(error))?;
    Ok(listed.common_prefixes)
}

/// Cuts the keys below a folder into about so many ranges, if it has as many folders.
pub(super) async fn ranges(location: &Location, wanted: usize) -> Result<Vec<KeyRange>> {
    let all = KeyRange::default();
    if !has_ranges(location) {
        return Ok(vec![all]);
    }
    let mut level = vec![location.path.clone()];
    let mut places: Vec<Path> = vec![];
    for _ in 0..DEPTH {
        let below = level.iter().map(|folder| folders(location, folder, None));
        let below: Vec<Result<Vec<Path>>> =
            futures::stream::iter(below.collect::<Vec<_>>())
                .buffered(AT_ONCE)
                .collect()
                .await;
        let below = below.into_iter().collect::<Result<Vec<_>>>()?.concat();
        places.extend(below.iter().cloned());
        if below.is_empty() || places.len() >= wanted {
            break;
        }
        level = below;
    }
    places.sort();
    Ok(all.cut(&places, wanted))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use futures::TryStreamExt;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use url::Url;

    use super::*;
    use crate::Stores;

    /// A bucket in memory with these keys.
    async fn bucket(name: &str, keys: impl IntoIterator<Item = String>) -> Location {
        use datafusion::execution::object_store::ObjectStoreRegistry;
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for key in keys {
            let key = Path::parse(key).unwrap();
            store.put(&key, "x".into()).await.unwrap();
        }
        let url = format!("s3://{name}");
        Stores::shared().register_store(&Url::parse(&url).unwrap(), store);
        Location::parse(&format!("{url}/data")).unwrap()
    }

    async fn keys(objects: Objects) -> Vec<String> {
        let pages: Vec<Vec<ObjectMeta>> = objects.try_collect().await.unwrap();
        let objects = pages.concat();
        objects.iter().map(|o| o.location.to_string()).collect()
    }

    /// Keys in folders of many shapes, some of which sort around their slash.
    fn odd() -> Vec<String> {
        let mut keys = vec![];
        for n in 0..7000 {
            keys.push(format!("data/{:02}/{:05}.jpg", n % 13, n));
            keys.push(format!("data/deep/{:03}/x/{n}", n % 200));
        }
        for n in 0..3000 {
            keys.push(format!("data/flat-{n}"));
            keys.push(format!("data/00-{n}/a"));
        }
        keys.extend(["data/05", "data/05!x", "data/05.x", "other/x"].map(String::from));
        keys
    }

    #[tokio::test]
    async fn ranges_at_once_give_every_key_once() {
        let location = bucket("odd-keys", odd()).await;
        let below = odd().into_iter().filter(|key| key.starts_with("data/"));
        let expected: Vec<String> = below.collect::<BTreeSet<_>>().into_iter().collect();
        let all = KeyRange::default();
        assert_eq!(keys(one_by_one(&location, &all)).await, expected);
        for requests in [1, 2, 3, 16, 40] {
            let found = at_once(location.clone(), all.clone(), requests);
            let mut found = keys(found).await;
            found.sort();
            assert_eq!(found, expected, "{requests} requests");
        }
        for wanted in [1, 2, 8, 100, 1000] {
            let ranges = ranges(&location, wanted).await.unwrap();
            assert!(ranges.len() <= wanted, "{wanted}");
            assert!(
                ranges.len() > wanted / 2 || wanted > 100,
                "{}",
                ranges.len()
            );
            let meet = |pair: &[KeyRange]| pair[0].until == pair[1].after;
            assert!(ranges.windows(2).all(meet), "{wanted} ranges");
            let mut found = vec![];
            for range in ranges {
                let objects = at_once(location.clone(), range, 3);
                found.extend(keys(objects).await);
            }
            found.sort();
            assert_eq!(found, expected, "{wanted} ranges");
        }
    }

    #[tokio::test]
    async fn an_empty_folder_has_no_keys() {
        let location = bucket("no-keys", ["other/x".to_string()]).await;
        let all = KeyRange::default();
        assert!(keys(at_once(location.clone(), all, 4)).await.is_empty());
        assert_eq!(ranges(&location, 9).await.unwrap(), [KeyRange::default()]);
    }

    #[tokio::test]
    async fn a_folder_without_folders_is_cut_where_its_keys_go_on_otherwise() {
        let expected: Vec<String> = (0..32_000)
            .map(|n| format!("data/img_{n:07}.jpg"))
            .collect();
        let location = bucket("flat-keys", expected.clone()).await;
        let range = |after: &str, until: Option<&str>| KeyRange {
            after: Some(Path::parse(after).unwrap()),
            until: until.map(|until| Path::parse(until).unwrap()),
        };
        let places = async |range: KeyRange| {
            let places = letters_in(&location, &range).await.unwrap();
            places.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let found = places(range("data/img_0000999.jpg", None)).await;
        let tens: Vec<_> = (1..10).map(|n| format!("data/img_00{n}")).collect();
        assert_eq!(found, tens);
        let found = range("data/img_0010999.jpg", Some("data/img_002"));
        let thousands: Vec<_> = (1..10).map(|n| format!("data/img_001{n}")).collect();
        assert_eq!(places(found).await, thousands);
        assert!(places(range("data/img_0031999.jpg", None)).await.is_empty());
        for requests in [2, 16] {
            let all = KeyRange::default();
            let mut found = keys(at_once(location.clone(), all, requests)).await;
            found.sort();
            assert_eq!(found, expected, "{requests} requests");
        }
    }

    #[test]
    fn a_directory_bucket_is_listed_by_one_request_at_a_time() {
        let at = |url: &str| has_ranges(&Location::parse(url).unwrap());
        assert!(at("s3://bucket/data"));
        assert!(!at("s3://bucket--usw2-az1--x-s3/data"));
        assert!(!at("/data"));
    }
}
