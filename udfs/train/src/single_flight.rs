//! Work that several callers want at once and that must happen once.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

/// Values by key, each for as long as anyone keeps it.
///
/// The first caller makes the value of a key and the others wait for it. When the first
/// one is cancelled or fails, the next in line takes over. Nothing outlives its callers:
/// this shares work, it does not cache.
#[derive(Debug)]
pub(crate) struct SingleFlight<V> {
    cells: Mutex<Cells<V>>,
}

/// A value that everyone who asks for its key gets, while anyone has a clone of this.
#[derive(Debug, Clone)]
pub(crate) struct Shared<V> {
    value: V,
    // Keeps the cell findable for whoever asks for the same key next.
    _cell: Arc<OnceCell<V>>,
}

impl<V> Deref for Shared<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

#[derive(Debug)]
struct Cells<V> {
    by_key: HashMap<String, Weak<OnceCell<V>>>,
    /// Dead cells are swept out when there are this many entries, so that sweeping
    /// costs no more than inserting.
    sweep_at: usize,
}

impl<V> Default for SingleFlight<V> {
    fn default() -> Self {
        Self {
            cells: Mutex::new(Cells {
                by_key: HashMap::new(),
                sweep_at: 64,
            }),
        }
    }
}

impl<V: Clone> SingleFlight<V> {
    /// The value of `key`, made by one of those who ask for it at the same time.
    pub(crate) async fn get_or_make<E, F>(
        &self,
        key: &str,
        make: impl FnOnce() -> F,
    ) -> Result<Shared<V>, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = self.cell(key);
        let value = cell.get_or_try_init(make).await?.clone();
        Ok(Shared { value, _cell: cell })
    }
}

impl<V> SingleFlight<V> {
    /// The cell that everyone who asks for `key` at this moment shares.
    fn cell(&self, key: &str) -> Arc<OnceCell<V>> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.by_key.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        if cells.by_key.len() >= cells.sweep_at {
            cells.by_key.retain(|_, cell| cell.strong_count() > 0);
            cells.sweep_at = 64 + 2 * cells.by_key.len();
        }
        let cell = Arc::new(OnceCell::new());
        cells.by_key.insert(key.to_string(), Arc::downgrade(&cell));
        cell
    }
}

/// One value per key, for as long as this lives; a value that failed is tried again.
#[derive(Debug)]
pub(crate) struct Memo<V> {
    cells: Mutex<HashMap<String, Arc<OnceCell<V>>>>,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self {
            cells: Mutex::default(),
        }
    }
}

impl<V: Clone> Memo<V> {
    /// The value of `key`, made once however many callers there are.
    pub(crate) async fn get_or_make<E, F>(
        &self,
        key: &str,
        make: impl FnOnce() -> F,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key.to_string()).or_default())
        };
        cell.get_or_try_init(make).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_at_once_share_a_cell() {
        let flights = SingleFlight::<u32>::default();
        let first = flights.cell("a");
        first.set(7).unwrap();
        assert_eq!(flights.cell("a").get(), Some(&7));
        assert_eq!(flights.cell("b").get(), None);
    }

    #[test]
    fn nothing_outlives_its_callers() {
        let flights = SingleFlight::<u32>::default();
        flights.cell("a").set(7).unwrap();
        assert_eq!(flights.cell("a").get(), None);
        for key in 0..1_000 {
            flights.cell(&key.to_string());
        }
        assert!(flights.cells.lock().unwrap().by_key.len() <= 130);
    }
}
