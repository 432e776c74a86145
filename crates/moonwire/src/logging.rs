//! The log: to standard error, through a bounded queue, so that no shard ever waits for a terminal or a pipe.
//!
//! A line that finds the queue full, or the disk, is dropped and counted, and the next line that is written is preceded
//! by one that says how many are missing.

mod format;

pub(crate) use self::format::Text;

use self::format::{Format, Json};
use crate::cli::LogFormat;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Lines that may wait to be written.
const QUEUE: usize = 8_192;
/// How long lines gather: a thread that is woken for each costs a busy server more than the lines themselves.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes that are written without waiting for more.
const BATCH: usize = 64 << 10;

/// Keeps the log going; what waits is written when it is dropped.
pub(crate) struct Log {
    _writer: WorkerGuard,
    dropped: ErrorCounter,
    /// Lines that could not be written.
    failed: Arc<AtomicU64>,
}

impl Log {
    /// Begins to log. To be called once, before the first thread that logs.
    pub(crate) fn start(format: LogFormat, levels: Targets) -> Log {
        let terminal = io::stderr().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format: Arc<dyn Format> = match format {
            LogFormat::Text => Arc::new(Text),
            LogFormat::Auto if terminal => Arc::new(Text),
            LogFormat::Auto | LogFormat::Json => Arc::new(Json),
        };
        let counter = Arc::new(OnceLock::new());
        let output = Batches::new(io::stderr(), counter.clone(), format.clone(), PAUSE);
        let failed = output.failed.clone();
        let (writer, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).thread_name("log").finish(output);
        let dropped = counter.get_or_init(|| writer.error_counter()).clone();
        let layer = Layer::default().with_writer(writer).with_ansi(colours).event_format(Lines::new(format, now));
        tracing_subscriber::registry().with(layer).with(levels).init();
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.payload_as_str().unwrap_or("a panic without a text");
            let thread = std::thread::current();
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            let error = format!("{text}\n{}", std::backtrace::Backtrace::capture());
            tracing::error!(thread = thread.name().unwrap_or("?"), location, error, "a fault in the server itself");
        }));
        Log { _writer: guard, dropped, failed }
    }

    /// Reads how many lines were dropped so far.
    pub(crate) fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let (counter, failed) = (self.dropped.clone(), self.failed.clone());
        move || counter.dropped_lines() as u64 + failed.load(Ordering::Relaxed)
    }
}

/// Standard error, as the writing thread sees it: lines gather here until none waits, and go out by one call.
struct Batches<W> {
    inner: W,
    /// Set before the first line is logged.
    counter: Arc<OnceLock<ErrorCounter>>,
    /// Lines that could not be written, as when the disk is full or nobody holds the other end of the pipe.
    failed: Arc<AtomicU64>,
    /// Dropped lines that the log has told of.
    told: u64,
    /// The last line is there in part.
    torn: bool,
    format: Arc<dyn Format>,
    /// Whole lines that are to be written, and where each ends.
    batch: Vec<u8>,
    ends: Vec<usize>,
    /// How long lines gather after a batch.
    pause: Duration,
}

impl<W: Write> Batches<W> {
    fn new(inner: W, counter: Arc<OnceLock<ErrorCounter>>, format: Arc<dyn Format>, pause: Duration) -> Batches<W> {
        let (batch, ends) = (Vec::new(), Vec::new());
        Batches { inner, counter, failed: Arc::default(), told: 0, torn: false, format, batch, ends, pause }
    }

    fn add(&mut self, line: &[u8]) {
        self.batch.extend_from_slice(line);
        self.ends.push(self.batch.len());
    }

    /// Writes the batch, after the end of a line that was torn; how many of its lines could not be written. An error
    /// would have nobody to go to.
    fn put(&mut self) -> u64 {
        let mut written = 0;
        if !self.torn || write_some(&mut self.inner, b"\n") == 1 {
            written = write_some(&mut self.inner, &self.batch);
            self.torn = written > 0 && !self.ends.contains(&written);
        }
        let lost = self.ends.iter().filter(|&&end| end > written).count();
        self.batch.clear();
        self.ends.clear();
        lost as u64
    }

    fn put_lines(&mut self) {
        let lost = self.put();
        self.failed.fetch_add(lost, Ordering::Relaxed);
    }

    /// Tells of lines that are missing, if there are some.
    fn tell(&mut self) {
        let dropped = self.counter.get().map_or(0, |counter| counter.dropped_lines() as u64);
        let dropped = dropped + self.failed.load(Ordering::Relaxed);
        if dropped == self.told {
            return;
        }
        let missing = (dropped - self.told).to_string();
        let fields = [("dropped", format::Value::Plain(&missing))];
        let line = format::Line {
            time: &now(),
            level: tracing::Level::WARN,
            target: "moonwire::logging",
            message: "log lines were dropped: they could not be written, or not as fast as they came",
            fields: &fields,
        };
        let mut text = String::new();
        if self.format.line(&line, false, &mut text).is_err() {
            return;
        }
        self.add(text.as_bytes());
        if self.put() == 0 {
            self.told = dropped;
        }
    }
}

/// Writes as much as there is room for; how much that was.
fn write_some(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

impl<W: Write> Write for Batches<W> {
    /// Adds a line to the batch.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.batch.is_empty() {
            self.tell();
        }
        self.add(line);
        if self.batch.len() >= BATCH {
            self.put_lines();
        }
        Ok(line.len())
    }

    /// No line waits any more: writes the batch, and lets the next one gather.
    fn flush(&mut self) -> io::Result<()> {
        self.put_lines();
        let flushed = self.inner.flush();
        std::thread::sleep(self.pause);
        flushed
    }
}

/// Writes an event as one line of a format.
pub(crate) struct Lines {
    format: Arc<dyn Format>,
    /// The time as the line shows it.
    time: fn() -> String,
}

impl Lines {
    /// Lines with the time that a function tells.
    pub(crate) fn new(format: Arc<dyn Format>, time: fn() -> String) -> Lines {
        Lines { format, time }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut seen = format::Seen::default();
        event.record(&mut seen);
        let metadata = event.metadata();
        let line = format::Line {
            time: &(self.time)(),
            level: *metadata.level(),
            target: metadata.target(),
            message: seen.message(),
            fields: &seen.fields(),
        };
        let colours = writer.has_ansi_escapes();
        // Built here and written at once: each piece of it would go through three writers.
        let mut text = String::with_capacity(seen.size());
        self.format.line(&line, colours, &mut text)?;
        writer.write_str(&text)
    }
}

/// The time as RFC 3339, in UTC.
fn now() -> String {
    let mut text = String::new();
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is told to.
    struct Stuck(std::sync::mpsc::Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            // Once the test has let go, every line passes.
            let _opened = self.0.recv();
            self.1.lock().expect("not poisoned").extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_the_queue_full_are_dropped_counted_and_told_of() {
        let (open, stuck) = std::sync::mpsc::channel();
        let written = Arc::new(std::sync::Mutex::new(Vec::new()));
        let counter = Arc::new(OnceLock::new());
        let inner = Stuck(stuck, written.clone());
        let output = Batches::new(inner, counter.clone(), Arc::new(Json), Duration::ZERO);
        let (mut writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(4).lossy(true).finish(output);
        let counter = counter.get_or_init(|| writer.error_counter());
        for number in 0..100 {
            writeln!(writer, "line {number}").expect("never waits");
        }
        let dropped = counter.dropped_lines();
        assert!(dropped >= 90, "{dropped}");
        drop(open);
        drop(guard);
        let text = String::from_utf8(written.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.contains(&format!("\"dropped\":{dropped}")), "{text}");
    }
    /// A disk with room for so many bytes.
    struct Disk(Arc<std::sync::Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("not poisoned");
            let taken = data.len().min(disk.0);
            disk.0 -= taken;
            disk.1.extend_from_slice(&data[..taken]);
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_told_of_when_there_is_room_again() {
        let disk = Arc::new(std::sync::Mutex::new((12, Vec::new())));
        let mut output = Batches::new(Disk(disk.clone()), Arc::default(), Arc::new(Json), Duration::ZERO);
        for number in 0..10 {
            output.write_all(format!("line {number}\n").as_bytes()).expect("the writer goes on");
        }
        output.flush().expect("the writer goes on");
        assert_eq!(output.failed.load(Ordering::Relaxed), 9);
        disk.lock().expect("not poisoned").0 = 10_000;
        output.write_all(b"at last\n").expect("written");
        output.write_all(b"and on\n").expect("written");
        output.flush().expect("written");
        let text = String::from_utf8(disk.lock().expect("not poisoned").1.clone()).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["line 0", "line "], "the torn line ends where it was torn");
        assert!(lines[2].contains("\"dropped\":9"), "{text}");
        assert_eq!(lines[3..], ["at last", "and on"]);
    }
}
