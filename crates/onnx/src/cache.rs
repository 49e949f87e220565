//! Every model of the process, by the content of its file and what computes it.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use lru::LruCache;
use parking_lot::Mutex;

use crate::Inference;
use crate::inner::Outputs;
use crate::loaded::Loaded;

/// How many models stay loaded when nobody uses them. A search over hundreds of
/// trained networks must not keep all of them in memory.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// The SHA-256 of a model file.
pub(crate) type Digest = [u8; 32];

/// What is loaded once: a file for an engine, with what it gives.
pub(crate) type Key = (Digest, Inference, Outputs);

/// Holds one model, or nothing yet. Whoever loads it holds the lock, so that the
/// others wait for the one load. A panic while loading leaves nothing, as before.
type Slot = Arc<Mutex<Option<Arc<Loaded>>>>;

/// Whoever uses a model keeps it alive, also after it was dropped from here.
static CACHE: LazyLock<Mutex<LruCache<Key, Slot>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(KEPT)));

/// The model with this content, loaded by `load` if it is not there.
pub(crate) fn get_or_load<E>(
    key: Key,
    load: impl FnOnce() -> Result<Loaded, E>,
) -> Result<Arc<Loaded>, E> {
    let slot = Arc::clone(CACHE.lock().get_or_insert(key, Slot::default));
    let mut model = slot.lock();
    if let Some(model) = &*model {
        return Ok(Arc::clone(model));
    }
    let loaded = Arc::new(load()?);
    *model = Some(Arc::clone(&loaded));
    Ok(loaded)
}
