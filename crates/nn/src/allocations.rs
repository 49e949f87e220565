//! Counts the allocations of the current thread, so that a test can assert that the
//! training loop makes none.
//!
//! `gemm` allocates room for its packed operands in each call and offers no way to lend
//! it some; [`Exempt`] leaves those out of the count.
#![expect(unsafe_code, reason = "an allocator is unsafe by nature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !EXEMPT.get() {
            COUNT.set(COUNT.get() + 1);
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The allocations that this thread has made so far.
pub(crate) fn count() -> u64 {
    COUNT.get()
}

/// While it lives, allocations of this thread are not counted.
pub(crate) struct Exempt;

impl Exempt {
    pub(crate) fn new() -> Self {
        EXEMPT.set(true);
        Self
    }
}

impl Drop for Exempt {
    fn drop(&mut self) {
        EXEMPT.set(false);
    }
}
