//! The allocator of one VM: it counts what the running slice takes and refuses what is too much.

use mlua_sys as ffi;
use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::os::raw::c_void;
use std::ptr::NonNull;

/// Luau asks for 16 at most.
const ALIGN: usize = 16;
/// The size of a huge page, from which a block is a mapping of its own, and that of a small one.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// One string, buffer or part of a table may take an eighth of what its process may hold, and this much in any case.
/// To fill so much at once, to copy it or to look through it is what holds up others the longest.
const BLOCK_SHARE: usize = 8;
const BLOCK: usize = 8 << 20;
/// What the pod's table of strings needs for each byte of its own in strings at least.
const STRINGS: usize = 2;

/// What one VM has allocated. Touched only by the thread of its shard.
pub(crate) struct Memory {
    /// Bytes in use.
    pub(crate) used: Cell<usize>,
    /// Bytes that the running slice has taken and not given back.
    pub(crate) slice: Cell<isize>,
    /// A slice that takes more is refused. Only while one runs: an error outside of one has nobody to catch it.
    pub(crate) slice_limit: Cell<isize>,
    /// No single block of the running slice is larger.
    pub(crate) block: Cell<usize>,
    /// Whether the last refusal was for the size of a block.
    pub(crate) refused_block: Cell<bool>,
    /// A slice that takes more is interrupted at the next chance.
    pub(crate) slice_alarm: Cell<isize>,
    /// The callbacks of the VM, once there is one.
    pub(crate) callbacks: Cell<Option<NonNull<ffi::lua_Callbacks>>>,
    /// Set into the callbacks to interrupt.
    pub(crate) interrupt: unsafe extern "C-unwind" fn(*mut ffi::lua_State, i32),
}

impl Memory {
    pub(crate) fn new(interrupt: unsafe extern "C-unwind" fn(*mut ffi::lua_State, i32)) -> Memory {
        Memory {
            used: Cell::new(0),
            slice: Cell::new(0),
            slice_limit: Cell::new(isize::MAX),
            block: Cell::new(usize::MAX),
            refused_block: Cell::new(false),
            slice_alarm: Cell::new(isize::MAX),
            callbacks: Cell::new(None),
            interrupt,
        }
    }

    /// Begins to count a slice that may take `limit` bytes.
    pub(crate) fn begin(&self, limit: usize) {
        self.block.set(BLOCK.max(limit / BLOCK_SHARE));
        self.refused_block.set(false);
        let limit = isize::try_from(limit).unwrap_or(isize::MAX);
        self.slice.set(0);
        self.slice_limit.set(limit);
        self.slice_alarm.set(limit / 2);
    }

    /// Whether the running slice has taken so much that it has to end.
    pub(crate) fn is_alarmed(&self) -> bool {
        self.slice.get() > self.slice_alarm.get()
    }

    /// Ends it; the bytes that it took and kept.
    pub(crate) fn end(&self) -> usize {
        self.slice_limit.set(isize::MAX);
        self.slice_alarm.set(isize::MAX);
        usize::try_from(self.slice.replace(0)).unwrap_or(0)
    }

    /// While the result lives nothing is refused: for work that an error must not interrupt half-way.
    pub(crate) fn lift(&self) -> Lifted<'_> {
        Lifted { memory: self, limit: self.slice_limit.replace(isize::MAX) }
    }

    /// Whether a block may have `new` bytes that had `old` of them.
    fn allows(&self, old: usize, new: usize) -> bool {
        if new <= self.block.get() || new <= old || self.slice_limit.get() == isize::MAX {
            return true;
        }
        // The table of all strings of the pod doubles in the slice of whoever makes the next one. It has a slot of
        // eight bytes for each string, and a string takes 32 at least.
        if old == 0 && new.is_power_of_two() && self.used.get() / STRINGS >= new {
            return true;
        }
        self.refused_block.set(true);
        false
    }

    fn grow(&self, by: isize) -> bool {
        let slice = self.slice.get().saturating_add(by);
        if by > 0 && slice > self.slice_alarm.get() {
            if let Some(callbacks) = self.callbacks.get() {
                // SAFETY: the VM owns its callbacks and lives as long as this allocator; only its own thread and
                // the watchdog write the field, and a lost write of the same value does no harm.
                unsafe { (*callbacks.as_ptr()).interrupt = Some(self.interrupt) };
            }
            if slice > self.slice_limit.get() {
                self.refused_block.set(false);
                return false;
            }
        }
        self.slice.set(slice);
        self.used.set(self.used.get().wrapping_add_signed(by));
        true
    }
}

/// See [`Memory::lift`].
pub(crate) struct Lifted<'a> {
    memory: &'a Memory,
    limit: isize,
}

impl Drop for Lifted<'_> {
    fn drop(&mut self) {
        self.memory.slice_limit.set(self.limit);
    }
}

/// Luau's allocation function (`lua_Alloc`).
///
/// # Safety
/// `ud` points to a [`Memory`] that outlives the VM; `block` was allocated here with size `old`.
pub(crate) unsafe extern "C" fn allocate(ud: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: by the contract of the function.
    let memory = unsafe { &*ud.cast::<Memory>() };
    let by = new as isize - old as isize;
    if !memory.allows(old, new) || !memory.grow(by) {
        return std::ptr::null_mut();
    }
    // SAFETY: by the contract of the function; sizes near `isize::MAX` were refused by the limit or are refused by the
    // system, and neither block is used with another size than it was made with.
    let result = unsafe {
        match (old, new) {
            (0, 0) => std::ptr::null_mut(),
            (0, _) => take(new),
            (_, 0) => {
                give(block.cast(), old);
                std::ptr::null_mut()
            }
            _ if old < HUGE && new < HUGE => realloc(block.cast(), layout(old), new),
            _ => {
                let moved = take(new);
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(block.cast(), moved, old.min(new));
                    give(block.cast(), old);
                }
                moved
            }
        }
    };
    if result.is_null() && new > 0 {
        memory.grow(-by);
    }
    result.cast()
}

const fn layout(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two; see `allocate` for the sizes.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

/// A new block.
///
/// # Safety
/// The size is not 0.
unsafe fn take(size: usize) -> *mut u8 {
    if size >= HUGE {
        return map(size);
    }
    // SAFETY: by the contract of the function.
    unsafe { alloc(layout(size)) }
}

/// Gives a block back.
///
/// # Safety
/// The block was made by [`take`] with this size.
unsafe fn give(block: *mut u8, size: usize) {
    // SAFETY: by the contract of the function; a block that was mapped is a mapping of its own.
    unsafe {
        if size >= HUGE {
            libc::munmap(block.cast(), size);
        } else {
            dealloc(block, layout(size));
        }
    }
}

/// A large block as a mapping of its own, of huge pages where the system has them: the first touch of 8 MiB in small
/// pages costs 5 ms, in huge ones 2. When it is given back nothing of it stays with the process.
fn map(size: usize) -> *mut u8 {
    let Some(more) = size.checked_add(HUGE) else { return std::ptr::null_mut() };
    // SAFETY: a new mapping touches no other memory; what is unmapped of it are its ends, which nobody has seen.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), more, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        let block = start.cast::<u8>().map_addr(|address| address.next_multiple_of(HUGE));
        let before = block.addr() - start.addr();
        let end = block.add(size).map_addr(|address| address.next_multiple_of(PAGE));
        let behind = start.addr() + more.next_multiple_of(PAGE) - end.addr();
        if before > 0 {
            libc::munmap(start, before);
        }
        if behind > 0 {
            libc::munmap(end.cast(), behind);
        }
        // A hint: without huge pages it fails, and small ones do as well.
        libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
        block
    }
}
