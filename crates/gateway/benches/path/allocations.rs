//! The allocator of the server's binary, counting.

use luau::Allocator;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// Blocks that were asked for so far, those that had to grow or shrink among them.
pub(crate) fn count() -> u64 {
    BLOCKS.load(Ordering::Relaxed)
}

fn note() {
    BLOCKS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: all of it is the binary's, which is called with what came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: by the contract of the function.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: by the contract of the function.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: by the contract of the function.
        unsafe { Allocator.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: by the contract of the function.
        unsafe { Allocator.dealloc(block, layout) }
    }
}
