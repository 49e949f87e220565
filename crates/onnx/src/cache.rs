//! Every model of the process, by the content of its file and what computes it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::Provider;
use crate::inner::Outputs;
use crate::loaded::Loaded;

/// How many models stay loaded when nobody uses them. A search over hundreds of
/// trained networks must not keep all of them in memory.
const KEPT: usize = 64;

/// The SHA-256 of a model file.
pub(crate) type Digest = [u8; 32];

/// What is loaded once: a file on a provider, with what it gives.
pub(crate) type Key = (Digest, Provider, Outputs);

/// Holds one model, or nothing yet. Whoever loads it holds the lock, so that the
/// others wait for the one load.
type Slot = Arc<Mutex<Option<Arc<Loaded>>>>;

#[derive(Default)]
struct Cache {
    slots: HashMap<Key, (Slot, u64)>,
    clock: u64,
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// The model with this content, loaded by `load` if it is not there.
pub(crate) fn get_or_load<E>(
    key: Key,
    load: impl FnOnce() -> Result<Loaded, E>,
) -> Result<Arc<Loaded>, E> {
    let slot = slot(key);
    let mut model = lock(&slot);
    if let Some(model) = &*model {
        return Ok(Arc::clone(model));
    }
    let loaded = Arc::new(load()?);
    *model = Some(Arc::clone(&loaded));
    Ok(loaded)
}

fn slot(key: Key) -> Slot {
    let mut cache = lock(&CACHE);
    cache.clock += 1;
    let now = cache.clock;
    if let Some((slot, used)) = cache.slots.get_mut(&key) {
        *used = now;
        return Arc::clone(slot);
    }
    if cache.slots.len() >= KEPT {
        let oldest = cache.slots.iter().min_by_key(|(_, (_, used))| *used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            // Whoever still uses that model keeps it alive.
            cache.slots.remove(&key);
        }
    }
    let slot = Slot::default();
    cache.slots.insert(key, (Arc::clone(&slot), now));
    slot
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while loading leaves an empty slot, which is as good as new.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
