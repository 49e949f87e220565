//! Memory that starts on a cache line, so that no vector in it lies across two.
#![expect(unsafe_code, reason = "cache lines are read as numbers")]

use std::ops::{Deref, DerefMut};

/// The numbers of a cache line.
const LINE: usize = 16;

/// The numbers of one cache line, aligned to it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([f32; LINE]);

/// In tests, memory that ends where reading is forbidden.
#[cfg(all(test, unix, not(miri)))]
type CacheLines = super::guard::Guarded<CacheLine>;
#[cfg(not(all(test, unix, not(miri))))]
type CacheLines = Vec<CacheLine>;

/// Numbers that start on a cache line.
pub(crate) struct Buffer {
    lines: CacheLines,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let zeros = CacheLine([0.0; LINE]);
        #[cfg(all(test, unix, not(miri)))]
        let lines = super::guard::Guarded::new(zeros, len.div_ceil(LINE));
        #[cfg(not(all(test, unix, not(miri))))]
        let lines = vec![zeros; len.div_ceil(LINE)];
        Self { lines, len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines are contiguous, have no padding and hold at least `len`
        // numbers; a number needs less alignment than a line.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_has_the_length_asked_for() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = Buffer::zeros(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.fill(1.0);
            assert!(buffer.iter().all(|x| *x == 1.0));
        }
    }
}
