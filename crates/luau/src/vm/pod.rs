//! A pod: one VM for up to 16,384 processes.
//!
//! A pod bounds the longest pause of the collector, which has to look again at every process that ran while it
//! marked, and it is what a fault inside the VM can take down.

use super::collector::Collector;
use super::memory::{Memory, allocate};
use super::texts::Texts;
use super::watchdog::{computed, period, settle, ticks};
use crate::call::Running;
use crate::live::Here;
use crate::modules;
use crate::registry::Entry;
use crate::runtime::NativeModule;
use crate::state::State;
use mlua_sys as ffi;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Weak};

/// Processes of one pod.
pub(crate) const PROCESSES: u32 = 16_384;
/// Nanoseconds that a slice may compute where it cannot be suspended, with the tick in which the watchdog notices it.
const STUCK: u64 = 10_000_000;
/// The memory categories: 0 the VM's own, 1 all small processes, the rest one each for large ones (shared
/// when there are more large processes than categories).
const SHARED_CATEGORY: i32 = 1;
const CATEGORIES: i32 = 256;
/// Threads of processes that have ended which the pod keeps for the next ones.
const SPARE_THREADS: usize = 64;

/// Why a slice is not to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Condemned {
    /// It ran for too long where Luau cannot suspend it.
    Stuck,
    /// It ended itself.
    Ended,
}

/// What the prelude gave to be used from Rust, as registry references.
#[derive(Default)]
pub(crate) struct Refs {
    /// `(kind, message, retryable, details, stack) -> error`
    pub(crate) make_error: c_int,
    /// `(channel, value)`: puts a timer's tick into its channel.
    pub(crate) tick: c_int,
    /// The metatable of spawners.
    pub(crate) spawner: c_int,
    /// The metatable of what `funcs.with_context` gives.
    pub(crate) caller: c_int,
    /// `() -> future`
    pub(crate) make_future: c_int,
    /// `(future, value, error)`: puts a result into its future.
    pub(crate) settle: c_int,
    /// The environment's metatable, which reads the shared globals.
    environment: c_int,
    /// The metatable that marks an empty table as an object.
    object: c_int,
}

pub(crate) struct Pod {
    main: State,
    pub(crate) memory: Box<Memory>,
    callbacks: NonNull<ffi::lua_Callbacks>,
    /// The code that the shard runs.
    pub(crate) code: Rc<Here>,
    pub(crate) refs: Refs,
    /// The metatables that are recognised by their address.
    object: *const c_void,
    pub(crate) error: *const c_void,
    pub(crate) spawner: *const c_void,
    pub(crate) caller: *const c_void,
    /// The chunks that are loaded, as registry references, by the place of their entry in memory.
    chunks: RefCell<FxHashMap<*const Entry, (Weak<Entry>, c_int)>>,
    /// Whether the compiler to machine code is set up.
    native: Cell<bool>,
    /// The version of the code at the last look for chunks that nobody needs.
    swept: Cell<u64>,
    /// The native modules by name, as registry references.
    pub(crate) modules: FxHashMap<&'static str, c_int>,
    /// Threads of processes that have ended, with the references that keep them. They hold nothing.
    spare: RefCell<Vec<(State, c_int)>>,
    pub(crate) texts: Texts,
    pub(crate) collector: Collector,
    /// The process that runs and its kernel. Null between slices.
    pub(crate) running: Cell<*const Running>,
    /// Coroutines that the last break went through, innermost first.
    pub(crate) broken: RefCell<Vec<State>>,
    /// The threads that run, outermost first: each but the first was resumed by the one before it.
    resumed: RefCell<Vec<State>>,
    /// The memory category of the process that runs.
    category: Cell<i32>,
    /// When the slice was first found where it cannot be suspended (see [`computed`]); 0 if it was not.
    stuck: Cell<u64>,
    /// Interrupts of the watchdog that the slice outlives.
    ticks_left: Cell<u32>,
    /// The watchdog's tick at which that was last looked into.
    looked: Cell<u64>,
    pub(crate) condemned: Cell<Option<Condemned>>,
    pub(crate) living: Cell<u32>,
    /// The VM may be inconsistent: everything in it has to end.
    pub(crate) poisoned: Cell<bool>,
    /// How many processes use each memory category.
    categories: RefCell<Vec<u32>>,
    /// Names of native functions, which Luau does not copy.
    _names: Vec<CString>,
}

impl Pod {
    pub(crate) fn new(code: Rc<Here>, extra: &[NativeModule]) -> Result<Rc<Pod>, String> {
        let memory = Box::new(Memory::new(interrupt));
        // SAFETY: the allocator's data lives in the pod, which closes the VM before it is dropped.
        let main = unsafe { ffi::lua_newstate(allocate, (&raw const *memory).cast_mut().cast()) };
        let Some(raw) = NonNull::new(main) else { return Err("a VM cannot be created: out of memory".to_owned()) };
        // SAFETY: the VM lives as long as the pod.
        let (main, callbacks, collector) =
            unsafe { (State::new(raw.as_ptr()), ffi::lua_callbacks(raw.as_ptr()), Collector::new(raw.as_ptr())) };
        let callbacks = NonNull::new(callbacks).ok_or("a VM has no callbacks")?;
        memory.callbacks.set(Some(callbacks));
        let mut pod = Rc::new(Pod {
            main,
            memory,
            callbacks,
            chunks: RefCell::default(),
            native: Cell::new(false),
            swept: Cell::new(0),
            code,
            refs: Refs::default(),
            object: std::ptr::null(),
            error: std::ptr::null(),
            spawner: std::ptr::null(),
            caller: std::ptr::null(),
            modules: FxHashMap::default(),
            spare: RefCell::default(),
            texts: Texts::default(),
            collector,
            running: Cell::new(std::ptr::null()),
            broken: RefCell::default(),
            resumed: RefCell::default(),
            category: Cell::new(SHARED_CATEGORY),
            stuck: Cell::new(0),
            ticks_left: Cell::new(0),
            looked: Cell::new(0),
            condemned: Cell::new(None),
            living: Cell::new(0),
            poisoned: Cell::new(false),
            categories: RefCell::new(vec![0; CATEGORIES as usize]),
            _names: Vec::new(),
        });
        // SAFETY: the pod stays where its `Rc` is; the callbacks live as long as the VM.
        unsafe {
            let callbacks = pod.callbacks.as_ptr();
            (*callbacks).userdata = (&raw const *pod).cast_mut().cast();
            (*callbacks).debuginterrupt = Some(broke_through);
            (*callbacks).preresume = Some(begins);
            (*callbacks).postresume = Some(ends);
        }
        let prelude = modules::install(main, extra)?;
        let texts = Texts::new(main);
        let filled = Rc::get_mut(&mut pod).ok_or("a new pod is shared")?;
        filled.texts = texts;
        filled.object = main_pointer(main, prelude.object);
        filled.error = main_pointer(main, prelude.error);
        filled.spawner = main_pointer(main, prelude.spawner);
        filled.caller = main_pointer(main, prelude.caller);
        filled.modules = prelude.modules;
        filled.refs = Refs {
            make_error: prelude.make_error,
            tick: prelude.tick,
            spawner: prelude.spawner,
            caller: prelude.caller,
            make_future: prelude.make_future,
            settle: prelude.settle,
            environment: environment(main),
            object: prelude.object,
        };
        filled._names = prelude.names;
        main.set_top(0);
        // What processes allocate is counted apart from what the pod itself holds.
        main.set_category(SHARED_CATEGORY);
        Ok(pod)
    }

    /// The pod of a state.
    ///
    /// # Safety
    /// The state belongs to a pod's VM.
    pub(crate) unsafe fn of<'a>(state: State) -> &'a Pod {
        // SAFETY: by the contract of the function; `Pod::new` set the pointer before any code ran.
        unsafe { &*(*ffi::lua_callbacks(state.raw())).userdata.cast::<Pod>() }
    }

    pub(crate) fn main(&self) -> State {
        self.main
    }

    pub(crate) fn callbacks(&self) -> *mut ffi::lua_Callbacks {
        self.callbacks.as_ptr()
    }

    /// A new thread with an environment of its own that reads the shared globals; kept by the reference.
    pub(crate) fn new_thread(&self) -> (State, c_int) {
        let main = self.main;
        let spare = self.spare.borrow_mut().pop();
        let (thread, reference) = spare.unwrap_or_else(|| {
            let thread = main.push_thread();
            let reference = main.keep(-1);
            main.pop(1);
            (thread, reference)
        });
        // SAFETY: the thread is kept; a new thread has room for these pushes.
        unsafe {
            let l = thread.raw();
            ffi::lua_createtable(l, 0, 0);
            ffi::lua_rawgeti_(l, ffi::LUA_REGISTRYINDEX, self.refs.environment);
            ffi::lua_setmetatable(l, -2);
            ffi::lua_replace(l, ffi::LUA_GLOBALSINDEX);
            ffi::lua_setsafeenv(l, ffi::LUA_GLOBALSINDEX, 1);
        }
        (thread, reference)
    }

    /// Takes back the thread of a process that has ended: short-lived processes would leave more garbage in threads
    /// than in all that they compute. To be called between slices.
    pub(crate) fn take_back(&self, thread: State, reference: c_int) {
        if self.spare.borrow().len() >= SPARE_THREADS || self.poisoned.get() {
            return self.main.release(reference);
        }
        // Its stack may have to be made smaller.
        let _lifted = self.memory.lift();
        // SAFETY: the reference keeps the thread, which does not run; a reset thread has room for a push. What the
        // process left elsewhere may still name the thread, but nothing can reach that any more.
        unsafe {
            let l = thread.raw();
            ffi::lua_resetthread(l);
            ffi::lua_pushvalue(self.main.raw(), ffi::LUA_GLOBALSINDEX);
            ffi::lua_xmove(self.main.raw(), l, 1);
            ffi::lua_replace(l, ffi::LUA_GLOBALSINDEX);
        }
        self.spare.borrow_mut().push((thread, reference));
    }

    /// Pushes an entry's chunk onto `state`, as a function with the environment of that state.
    pub(crate) fn push_chunk(&self, state: State, entry: &Arc<Entry>) -> Result<(), String> {
        let loaded = self.chunks.borrow().get(&Arc::as_ptr(entry)).map(|&(_, reference)| reference);
        let reference = match loaded {
            Some(reference) => reference,
            None => self.load_chunk(entry)?,
        };
        // Between two tasks nobody would catch a refusal.
        let _lifted = self.memory.lift();
        // SAFETY: the state lives; the reference is a function without upvalues.
        unsafe {
            let l = state.raw();
            if ffi::lua_checkstack(l, 3) == 0 {
                return Err("stack overflow".to_owned());
            }
            ffi::lua_rawgeti_(l, ffi::LUA_REGISTRYINDEX, reference);
            ffi::lua_clonefunction(l, -1);
            ffi::lua_remove(l, -2);
            ffi::lua_pushvalue(l, ffi::LUA_GLOBALSINDEX);
            ffi::lua_setfenv(l, -2);
        }
        Ok(())
    }

    fn load_chunk(&self, entry: &Arc<Entry>) -> Result<c_int, String> {
        let version = self.code.current().number;
        if self.swept.replace(version) != version {
            self.sweep_chunks();
        }
        let main = self.main;
        // The chunk is the pod's, and the stack of the main thread is not to be left by an error.
        let _lifted = self.memory.lift();
        // SAFETY: the bytecode comes from the compiler of the same Luau; the name and the code outlive the call.
        let status = unsafe {
            ffi::luau_load(main.raw(), entry.chunk.as_ptr(), entry.bytecode.as_ptr().cast(), entry.bytecode.len(), 0)
        };
        if status != 0 {
            let message = main.describe(-1);
            main.pop(1);
            return Err(format!("{} cannot be loaded: {message}", entry.id));
        }
        if entry.native {
            self.make_native();
        }
        let reference = main.keep(-1);
        main.pop(1);
        self.chunks.borrow_mut().insert(Arc::as_ptr(entry), (Arc::downgrade(entry), reference));
        Ok(reference)
    }

    /// Compiles the function on top of the main thread's stack, and those in it, to machine code where Luau can.
    fn make_native(&self) {
        let main = self.main.raw();
        // SAFETY: the state lives, a Luau function is on top of its stack, and the compiler is set up once.
        unsafe {
            if ffi::luau_codegen_supported() == 0 {
                return;
            }
            if !self.native.replace(true) {
                ffi::luau_codegen_create(main);
            }
            ffi::luau_codegen_compile(main, -1);
        }
    }

    /// Forgets the chunks of entries that are in no version any more.
    pub(crate) fn sweep_chunks(&self) {
        self.chunks.borrow_mut().retain(|_, (entry, reference)| {
            let used = entry.strong_count() > 0;
            if !used {
                self.main.release(*reference);
            }
            used
        });
    }

    /// Whether the table at `index` is an object even when it is empty.
    pub(crate) fn is_object(&self, state: State, index: i32) -> bool {
        let metatable = state.metatable_pointer(index);
        !metatable.is_null() && metatable == self.object
    }

    /// Marks the table on top as an object.
    pub(crate) fn mark_object(&self, state: State) {
        state.push_ref(self.refs.object);
        state.set_metatable(-2);
    }

    /// A memory category for a large process: one of its own, or, when all have one, that which holds the least.
    pub(crate) fn take_category(&self) -> i32 {
        let mut users = self.categories.borrow_mut();
        let costs = |&category: &i32| (users[category as usize], self.main.bytes_of(category));
        let best = (SHARED_CATEGORY + 1..CATEGORIES).min_by_key(costs).unwrap_or(SHARED_CATEGORY);
        users[best as usize] += 1;
        best
    }

    pub(crate) fn give_back_category(&self, category: i32) {
        self.categories.borrow_mut()[category as usize] -= 1;
    }

    /// What a category holds, and whether it is one process's own.
    pub(crate) fn measure(&self, category: i32) -> (usize, bool) {
        (self.main.bytes_of(category), self.categories.borrow()[category as usize] == 1)
    }

    /// Before a slice of a process that has the given memory category: nothing is known of it.
    pub(crate) fn begin_slice(&self, category: Option<i32>) {
        self.stuck.set(0);
        self.condemned.set(None);
        self.resumed.borrow_mut().clear();
        self.category.set(category.unwrap_or(SHARED_CATEGORY));
    }

    /// The watchdog knows of the slice, and that it may last for so many interrupts.
    pub(crate) fn last_for(&self, ticks: u32) {
        self.ticks_left.set(ticks);
    }

    /// Whether the running thread and all that wait for it can be suspended.
    pub(crate) fn can_suspend(&self, state: State) -> bool {
        state.is_yieldable() && self.resumed.borrow().iter().all(|thread| thread.is_yieldable())
    }

    /// Calls the function under `arguments` values on the main thread, protected and within the process's limit,
    /// without results. Metamethods of the program may run in it, so nothing in there can be suspended.
    pub(crate) fn call_on_main(&self, arguments: i32, limit: isize) {
        let main = self.main;
        main.set_category(self.category.get());
        self.resumed.borrow_mut().push(main);
        let before = self.memory.slice_limit.replace(limit);
        if !main.call(arguments, 0) {
            main.pop(1);
        }
        self.memory.slice_limit.set(before);
        self.resumed.borrow_mut().pop();
        main.set_category(SHARED_CATEGORY);
    }

    /// Whether somebody wants the slice to end.
    pub(crate) fn is_armed(&self) -> bool {
        // SAFETY: the callbacks live as long as the VM; the watchdog writes the field as one word.
        unsafe {
            let slot = std::ptr::addr_of_mut!((*self.callbacks.as_ptr()).interrupt).cast::<*mut ()>();
            !AtomicPtr::from_ptr(slot).load(Ordering::Relaxed).is_null()
        }
    }

    /// Whether the slice is to end where it stands. An interrupt of the watchdog that leaves it time is only counted.
    pub(crate) fn is_over(&self) -> bool {
        if !self.is_armed() {
            return false;
        }
        let left = self.ticks_left.get();
        if left == 0 || self.memory.is_alarmed() || self.condemned.get().is_some() {
            return true;
        }
        self.ticks_left.set(left - 1);
        // It could have been suspended here.
        self.stuck.set(0);
        self.disarm();
        false
    }

    /// For loops in native functions: whether the slice has run for too long to go on. The program is ended then.
    pub(crate) fn is_overdue(&self) -> bool {
        if !self.is_armed() {
            return false;
        }
        // Loops ask at every turn; the time is only worth to be asked for once a millisecond.
        let tick = ticks();
        if self.stuck.get() != 0 && self.looked.replace(tick) == tick {
            return self.condemned.get().is_some();
        }
        let now = computed();
        match self.stuck.get() {
            0 => self.stuck.set(now),
            since if now.saturating_sub(since) > STUCK.saturating_sub(period()) => {
                self.condemned.set(self.condemned.get().or(Some(Condemned::Stuck)));
            }
            _ => {}
        }
        self.condemned.get().is_some()
    }

    /// Interrupts the running slice at its next safe point.
    pub(crate) fn arm(&self) {
        self.ticks_left.set(0);
        // SAFETY: the callbacks live as long as the VM.
        unsafe { (*self.callbacks.as_ptr()).interrupt = Some(interrupt) };
    }

    pub(crate) fn disarm(&self) {
        // SAFETY: the callbacks live as long as the VM.
        unsafe { (*self.callbacks.as_ptr()).interrupt = None };
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        settle();
        // SAFETY: nothing of the VM is used after this; its allocator is dropped later, as a field.
        unsafe { ffi::lua_close(self.main.raw()) };
    }
}

fn main_pointer(main: State, reference: c_int) -> *const c_void {
    main.push_ref(reference);
    let pointer = main.pointer(-1);
    main.pop(1);
    pointer
}

/// The metatable of every process's environment: reads go to the shared globals.
fn environment(main: State) -> c_int {
    main.push_table(0, 2);
    // SAFETY: the globals of the main thread are the shared ones.
    unsafe { ffi::lua_pushvalue(main.raw(), ffi::LUA_GLOBALSINDEX) };
    main.set_field(-2, c"__index");
    main.push_string(b"locked");
    main.set_field(-2, c"__metatable");
    main.set_readonly(-1);
    let reference = main.keep(-1);
    main.pop(1);
    reference
}

/// Called by the VM at a safe point after the watchdog or the allocator asked for it.
pub(crate) unsafe extern "C-unwind" fn interrupt(l: *mut ffi::lua_State, gc: c_int) {
    if gc >= 0 {
        return;
    }
    // SAFETY: Luau calls this with a state of a pod's VM.
    let (state, pod) = unsafe {
        let state = State::new(l);
        (state, Pod::of(state))
    };
    if pod.can_suspend(state) {
        if pod.is_over() {
            pod.disarm();
            state.break_out();
        }
        return;
    }
    // Inside a comparator, a metamethod or a pattern: it cannot be suspended, only ended. It stays armed: it is
    // suspended where that is possible again, and no `pcall` outlives its end.
    if pod.is_overdue() {
        raise(l, c"ran for more than 10 ms where it cannot be suspended (a comparator, metamethod or pattern)");
    }
}

fn raise(l: *mut ffi::lua_State, message: &CStr) -> ! {
    // SAFETY: called by the VM inside a protected call; no Rust value with a destructor is alive.
    unsafe {
        ffi::lua_rawcheckstack(l, 1);
        ffi::lua_pushlstring_(l, message.as_ptr(), message.to_bytes().len());
        ffi::lua_error(l)
    }
}

/// Called for each coroutine that a break goes through, innermost first.
unsafe extern "C-unwind" fn broke_through(l: *mut ffi::lua_State, record: *mut ffi::lua_Debug) {
    // SAFETY: Luau calls this with a state of a pod's VM and a record whose user data is the inner coroutine.
    unsafe {
        let pod = Pod::of(State::new(l));
        pod.broken.borrow_mut().push(State::new((*record).userdata.cast()));
    }
}

/// Called before a coroutine runs.
unsafe extern "C-unwind" fn begins(l: *mut ffi::lua_State) {
    // SAFETY: Luau calls this with a state of a pod's VM.
    let (state, pod) = unsafe { (State::new(l), Pod::of(State::new(l))) };
    // A coroutine may be older than the category of its process.
    state.set_category(pod.category.get());
    pod.resumed.borrow_mut().push(state);
}

/// Called after a coroutine has run, however that ended.
unsafe extern "C-unwind" fn ends(l: *mut ffi::lua_State) {
    // SAFETY: Luau calls this with a state of a pod's VM.
    let pod = unsafe { Pod::of(State::new(l)) };
    pod.resumed.borrow_mut().pop();
}
