//! The allocator of one VM: it counts what the running slice takes and refuses what is too much.

use mlua_sys as ffi;
use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::os::raw::c_void;
use std::ptr::NonNull;

/// Luau asks for 16 at most.
const ALIGN: usize = 16;

/// What one VM has allocated. Touched only by the thread of its shard.
pub(crate) struct Memory {
    /// Bytes in use.
    pub(crate) used: Cell<usize>,
    /// Bytes that the running slice has taken and not given back.
    pub(crate) slice: Cell<isize>,
    /// A slice that takes more is refused. Only while one runs: an error outside of one has nobody to catch it.
    pub(crate) slice_limit: Cell<isize>,
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
            slice_alarm: Cell::new(isize::MAX),
            callbacks: Cell::new(None),
            interrupt,
        }
    }

    /// Begins to count a slice that may take `limit` bytes.
    pub(crate) fn begin(&self, limit: usize) {
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

    fn grow(&self, by: isize) -> bool {
        let slice = self.slice.get().saturating_add(by);
        if by > 0 && slice > self.slice_alarm.get() {
            if let Some(callbacks) = self.callbacks.get() {
                // SAFETY: the VM owns its callbacks and lives as long as this allocator; only its own thread and
                // the watchdog write the field, and a lost write of the same value does no harm.
                unsafe { (*callbacks.as_ptr()).interrupt = Some(self.interrupt) };
            }
            if slice > self.slice_limit.get() {
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
    if !memory.grow(by) {
        return std::ptr::null_mut();
    }
    // SAFETY: sizes are those that Luau keeps of its blocks, none is 0 where it is used, and the alignment is a
    // power of two; sizes near `isize::MAX` were refused by the limit or are refused by the system.
    let result: *mut c_void = unsafe {
        let layout = |size| Layout::from_size_align_unchecked(size, ALIGN);
        match (old, new) {
            (0, 0) => std::ptr::null_mut(),
            (0, _) => alloc(layout(new)).cast(),
            (_, 0) => {
                dealloc(block.cast(), layout(old));
                std::ptr::null_mut()
            }
            _ => realloc(block.cast(), layout(old), new).cast(),
        }
    };
    if result.is_null() && new > 0 {
        memory.grow(-by);
    }
    result
}
