//! Memory that ends where the process may not read, so that a kernel that goes too far is
//! noticed by the CPU. Tests keep all memory of kernels in it.
#![expect(unsafe_code, reason = "pages are mapped and protected by hand")]
#![expect(clippy::expect_used, reason = "only tests use it")]

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// Values of which the last one is followed by a page that must not be touched.
pub(crate) struct Guarded<T> {
    base: NonNull<c_void>,
    bytes: usize,
    first: *mut T,
    len: usize,
}

// SAFETY: it owns its memory, as a vector does.
unsafe impl<T: Send> Send for Guarded<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Guarded<T> {}

impl<T: Copy> Guarded<T> {
    /// `len` times the same value.
    pub(crate) fn new(value: T, len: usize) -> Self {
        let size = len * size_of::<T>();
        let pages = size.next_multiple_of(page_size());
        let bytes = pages + page_size();
        // SAFETY: a new mapping overlaps nothing. Its last page is protected; the values
        // fill the bytes before that page, whose alignment is that of every type here.
        unsafe {
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let length = NonZeroUsize::new(bytes).expect("there is one page at least");
            let base = mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE)
                .expect("the system has memory");
            mprotect(base.byte_add(pages), page_size(), ProtFlags::PROT_NONE)
                .expect("a page can be protected");
            let first = base.byte_add(pages - size).cast::<T>().as_ptr();
            assert!(first.is_aligned(), "sizes are multiples of the alignment");
            for index in 0..len {
                first.add(index).write(value);
            }
            Self {
                base,
                bytes,
                first,
                len,
            }
        }
    }
}

fn page_size() -> usize {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok());
    size.expect("the system has pages")
}

impl<T: Copy> From<Vec<T>> for Guarded<T> {
    fn from(values: Vec<T>) -> Self {
        let first = *values.first().expect("there is something to guard");
        let mut guarded = Self::new(first, values.len());
        guarded.copy_from_slice(&values);
        guarded
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote `len` values there.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing borrows it any more.
        let result = unsafe { munmap(self.base, self.bytes) };
        assert!(result.is_ok(), "a mapping can be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_at_the_end_of_a_page() {
        for len in [1, 3, 1_023, 1_024, 1_025] {
            let mut guarded = Guarded::new(7.0_f32, len);
            assert_eq!(guarded.len(), len);
            assert!(guarded.iter().all(|x| *x == 7.0));
            guarded[len - 1] = 1.0;
            let end = guarded.as_ptr() as usize + len * 4;
            assert_eq!(end % page_size(), 0);
        }
    }
}
