//! Measures what a piece of code allocates, on the thread that runs it.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "each hands on what it was given: said once, above them all")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    /// Bytes allocated and not freed on this thread, and the most there were since the last measurement began.
    static LIVE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The most bytes that `run` held at once.
pub fn peak_bytes<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.with(|live| {
        let (now, _) = live.get();
        live.set((now, now));
        now
    });
    let result = run();
    let (_, peak) = LIVE.with(Cell::get);
    (result, peak.saturating_sub(before).max(0) as usize)
}

fn count(bytes: isize) {
    // A thread that is ending has no such variable any more, and nobody measures it.
    let _ = LIVE.try_with(|live| {
        let (now, peak) = live.get();
        live.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // While it copies, both exist.
        count(new_size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[test]
fn the_peak_is_that_of_the_measured_code() {
    let kept = vec![0_u8; 1 << 20];
    let ((), none) = peak_bytes(|| ());
    assert_eq!(none, 0);
    let (large, peak) = peak_bytes(|| {
        drop(vec![1_u8; 5_000]);
        vec![1_u8; 3_000]
    });
    assert_eq!(peak, 5_000);
    assert_eq!(kept.len() + large.len(), (1 << 20) + 3_000);
}
