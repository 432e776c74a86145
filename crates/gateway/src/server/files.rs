//! Files of a folder. They are opened and read on tokio's blocking threads, a bounded number at once, so that no disk
//! holds up a shard; a large one is read piece by piece as the client takes it.

use super::answer::{self, Body, RequestId};
use super::limits;
use super::site::Folder;
use super::watched::Busy;
use crate::static_files::conditional::{Answer, FileVersion, decide};
use crate::static_files::content_type::content_type;
use crate::static_files::path::resolve_decoded;
use crate::static_files::range::{content_range, content_range_unsatisfiable};
use bytes::Bytes;
use http::header as names;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Reads of files that are going on, on all shards.
static READS: Semaphore = Semaphore::const_new(limits::FILE_READS);

struct Opened {
    file: File,
    path: PathBuf,
    version: FileVersion,
}

enum Found {
    File(Opened),
    /// A folder whose URL lacks its slash: relative links in its index would lead astray.
    Folder,
    Nothing,
}

/// Answers with the file that `rest` names below the folder, to GET and HEAD.
pub(crate) async fn answer(
    folder: &Arc<Folder>,
    rest: &str,
    parts: &Parts,
    id: RequestId,
    busy: Busy,
) -> Response<Body> {
    let asked = &parts.headers;
    let not_found = || answer::plain(StatusCode::NOT_FOUND, "not found", id, asked);
    // The folder's own URL stands for its index, with or without the slash.
    let Some(path) = resolve_decoded(if rest.is_empty() { "/" } else { rest }) else { return not_found() };
    let (relative, wants_index) = (path.relative().to_owned(), path.is_folder() || rest.is_empty());
    let shared = folder.clone();
    let opened = blocking(move || Ok(open(&shared, &relative, wants_index))).await;
    let opened = match opened {
        Ok(Found::File(opened)) => opened,
        Ok(Found::Folder) => {
            let mut target = format!("{}/", parts.uri.path());
            if let Some(query) = parts.uri.query() {
                target.extend(["?", query]);
            }
            // A path that begins with two slashes would be another host.
            let target = format!("/{}", target.trim_start_matches('/'));
            let mut response = Response::new(answer::whole(Bytes::new()));
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            return answer::with_header(response, names::LOCATION, &target);
        }
        Ok(Found::Nothing) => return not_found(),
        Err(error) => {
            tracing::error!(request_id = %id, fault = %error, "a file cannot be read");
            return answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error", id, asked);
        }
    };
    let Opened { file, path, version } = opened;
    let decided = decide(&parts.method, asked, &version);
    let (from, to) = match &decided {
        Answer::Whole => (0, version.len),
        Answer::Part(range) => (*range.start(), range.end() + 1),
        Answer::NotModified | Answer::PreconditionFailed | Answer::RangeNotSatisfiable => (0, 0),
    };
    let body = FileBody { file: Arc::new(file), at: from, end: to, reading: None, _busy: busy };
    let mut response = Response::new(if from < to { body.boxed_unsync() } else { answer::whole(Bytes::new()) });
    *response.status_mut() = decided.status();
    response = answer::with_header(response, names::ETAG, &version.etag);
    if let Some(modified) = version.last_modified() {
        response = answer::with_header(response, names::LAST_MODIFIED, &modified);
    }
    response = answer::with_header(response, names::ACCEPT_RANGES, "bytes");
    response = answer::with_header(response, names::CACHE_CONTROL, "no-cache");
    response = answer::with_header(response, names::X_CONTENT_TYPE_OPTIONS, "nosniff");
    match &decided {
        Answer::Part(range) => {
            response = answer::with_header(response, names::CONTENT_RANGE, &content_range(range, version.len));
        }
        Answer::RangeNotSatisfiable => {
            let range = content_range_unsatisfiable(version.len);
            response = answer::with_header(response, names::CONTENT_RANGE, &range);
        }
        _ => {}
    }
    if matches!(decided, Answer::Whole | Answer::Part(_)) {
        response = answer::with_header(response, names::CONTENT_TYPE, &content_type(&path));
    }
    response
}

/// Finds and opens a file. A symbolic link that leads out of the folder leads nowhere.
fn open(folder: &Folder, relative: &Path, wants_index: bool) -> Found {
    let Ok(root) = folder.dir.canonicalize() else { return Found::Nothing };
    let path = if wants_index { root.join(relative).join(&folder.index) } else { root.join(relative) };
    match open_below(&root, &path) {
        Found::Nothing if folder.spa => open_below(&root, &root.join(&folder.index)),
        found => found,
    }
}

fn open_below(root: &Path, path: &Path) -> Found {
    let Some(path) = path.canonicalize().ok().filter(|path| path.starts_with(root)) else { return Found::Nothing };
    let Ok(file) = File::open(&path) else { return Found::Nothing };
    match file.metadata() {
        Ok(about) if about.is_dir() => Found::Folder,
        Ok(about) if about.is_file() => {
            let version = FileVersion::new(about.len(), about.modified().ok());
            Found::File(Opened { file, path, version })
        }
        _ => Found::Nothing,
    }
}

/// Runs something that may wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let _permit = READS.acquire().await.map_err(io::Error::other)?;
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A part of a file, read as it is sent.
struct FileBody {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// The request is being answered until the last byte has left.
    _busy: Busy,
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        let (file, at) = (self.file.clone(), self.at);
        let length = (self.end - at).min(limits::FILE_PIECE as u64) as usize;
        let reading = self.reading.get_or_insert_with(|| {
            tokio::spawn(blocking(move || {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, at)?;
                Ok(Bytes::from(piece))
            }))
        });
        let piece = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).and_then(|read| read);
        self.reading = None;
        Poll::Ready(Some(piece.map(|piece| {
            self.at += piece.len() as u64;
            Frame::data(piece)
        })))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
