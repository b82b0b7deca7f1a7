//! The heap. A refused allocation would end in abort(3), which ends the container at once: PID 1 waits for memory
//! instead. If the life has to end meanwhile, it ends in order (`rescue`).
//!
//! Memory is refused where RLIMIT_DATA, RLIMIT_AS or vm.overcommit_memory=2 limit it. (At the limit of a memory cgroup
//! malloc(3) does not fail: there the kernel kills a process when a page is touched.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use super::deadman::rescue;
use super::{clock, signals};

/// The heap of the program: that of the C library.
#[derive(Debug)]
pub struct Heap;

/// A block that nothing uses: freed when memory is refused. A life with an account needs less than that for all that
/// it may still record.
const RESERVE: usize = 1 << 20;
static RESERVED: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());
/// How often memory was refused since [`take_refusals`].
///
/// In .data, where every start has written to: each round reads it, and a page of .bss would be one more page fault.
#[unsafe(link_section = ".data")]
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// The pause before memory is asked for again.
const PAUSE: Duration = Duration::from_millis(20);
/// So often, if the life has to end.
const ATTEMPTS: u32 = 12;

/// Keeps the reserve. Its pages are not touched, so it costs address space alone.
pub fn reserve() {
    // SAFETY: plain numbers; a block from malloc, which is freed once at most.
    unsafe {
        // A block above the threshold (128 KiB) would be a mapping of its own, and free(3) would give it back to the
        // kernel instead of to the heap.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 2 * RESERVE as i32);
        RESERVED.store(libc::malloc(RESERVE), SeqCst);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

/// How often memory was refused since the last call.
pub fn take_refusals() -> u32 {
    match REFUSALS.load(SeqCst) {
        0 => 0,
        _ => REFUSALS.swap(0, SeqCst),
    }
}

// SAFETY: every function hands its arguments to the system's allocator and returns what that has returned; a refused
// call has changed nothing and may be repeated.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        let attempt = || unsafe { System.alloc(layout) };
        or_again(attempt(), &attempt)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        let attempt = || unsafe { System.alloc_zeroed(layout) };
        or_again(attempt(), &attempt)
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        let attempt = || unsafe { System.realloc(old, layout, size) };
        or_again(attempt(), &attempt)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[inline]
fn or_again(block: *mut u8, attempt: &dyn Fn() -> *mut u8) -> *mut u8 {
    if block.is_null() { again(attempt) } else { block }
}

/// Tries until memory is there, or ends the life. In a child of graceinit null: the child aborts.
#[cold]
#[inline(never)]
fn again(attempt: &dyn Fn() -> *mut u8) -> *mut u8 {
    if !rescue::is_supervisor() {
        return ptr::null_mut();
    }
    REFUSALS.fetch_add(1, SeqCst);
    let reserved = RESERVED.swap(ptr::null_mut(), SeqCst);
    // SAFETY: plain numbers; the block is from malloc and was not freed, because the pointer is taken away first.
    unsafe {
        // Or the C library would give the reserve back to the kernel.
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 0);
        libc::free(reserved);
    }
    let mut left = ATTEMPTS;
    loop {
        let block = attempt();
        if !block.is_null() {
            return block;
        }
        if rescue::is_due() {
            left -= 1;
            if left == 0 {
                rescue::end();
            }
        }
        let now = clock::now();
        signals::wait_for_child(now.after(PAUSE), now);
    }
}
