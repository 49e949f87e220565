//! Memory that a thread uses again for its next image.
//!
//! Pages that an allocator gives back and takes again are cleared by the kernel, which
//! costs more than some of the work that is done in them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Larger buffers are not kept: a photo of 36 megapixels must not hold its memory for as
/// long as the thread lives.
const LARGEST_KEPT: usize = 4 << 20;

/// How many buffers a thread keeps. Decoding and resizing an image needs fewer at a time.
const MOST_KEPT: usize = 8;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that may have been used before. Their contents are unspecified: overwrite them
/// before reading.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) fn of_len(len: usize) -> Self {
        let bytes = match Self::kept(len) {
            Some(bytes) => bytes,
            None => vec![0; len],
        };
        Buffer { bytes, len }
    }

    /// Takes the smallest kept buffer that is large enough, if there is one.
    fn kept(len: usize) -> Option<Vec<u8>> {
        let kept = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let fits = (0..kept.len()).filter(|n| kept[*n].len() >= len);
            let best = fits.min_by_key(|n| kept[*n].len());
            best.map(|best| kept.swap_remove(best))
        });
        kept.ok().flatten()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() > LARGEST_KEPT {
            return;
        }
        // Where the thread is ending, its buffers are gone.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            kept.push(bytes);
            if kept.len() > MOST_KEPT {
                // A smaller one serves fewer images.
                let least = (0..kept.len()).min_by_key(|n| kept[*n].len());
                least.map(|least| kept.swap_remove(least));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_buffer_is_the_last_one_that_fits() {
        let mut large = Buffer::of_len(1_000);
        large[999] = 7;
        drop(large);
        drop(Buffer::of_len(2_000));
        assert_eq!(Buffer::of_len(1_000)[999], 7);
        assert_eq!(Buffer::of_len(1_500).len(), 1_500);
    }

    #[test]
    fn what_is_large_is_given_back() {
        let mut huge = Buffer::of_len(LARGEST_KEPT + 1);
        huge[0] = 7;
        drop(huge);
        assert_eq!(Buffer::of_len(LARGEST_KEPT + 1)[0], 0);
    }
}
