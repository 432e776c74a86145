//! Does the client need the file at all, and which part of it? (RFC 9110 sections 13 and 14)

use super::range::{self, Part};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which version of a file this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVersion {
    /// The file's length in bytes.
    pub len: u64,
    /// The entity tag, quoted. It is strong: a file that changes within the resolution of its time and keeps
    /// its length is the one lie that file servers live with.
    pub etag: String,
    /// When the file was changed, in whole seconds as HTTP counts; `None` if that is unknown.
    pub modified: Option<SystemTime>,
}

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with the whole file.
    Whole,
    /// 206 with these bytes, both ends included.
    Part(RangeInclusive<u64>),
    /// 304: the client has it already.
    NotModified,
    /// 412: the client wanted another version.
    PreconditionFailed,
    /// 416: the range begins behind the end.
    RangeNotSatisfiable,
}

impl Answer {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Answer::Whole => StatusCode::OK,
            Answer::Part(_) => StatusCode::PARTIAL_CONTENT,
            Answer::NotModified => StatusCode::NOT_MODIFIED,
            Answer::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Answer::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

impl FileVersion {
    /// The version of a file with this length and time of change.
    pub fn new(len: u64, modified: Option<SystemTime>) -> Self {
        let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = since_epoch.unwrap_or_default().as_nanos();
        FileVersion {
            len,
            etag: format!("\"{nanoseconds:x}-{len:x}\""),
            modified: since_epoch.map(|time| UNIX_EPOCH + Duration::from_secs(time.as_secs())),
        }
    }

    /// The value of `Last-Modified`.
    pub fn last_modified(&self) -> Option<String> {
        self.modified.map(httpdate::fmt_http_date)
    }
}

/// Decides on a GET or HEAD, in the order of RFC 9110 section 13.2.2.
pub fn decide(method: &Method, headers: &HeaderMap, file: &FileVersion) -> Answer {
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, &header::IF_MATCH, |tag| tag == file.etag) {
            return Answer::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), file.modified)
        && modified > since
    {
        return Answer::PreconditionFailed;
    }

    if headers.contains_key(header::IF_NONE_MATCH) {
        // A weak comparison: a proxy may have weakened the tag that it passed on.
        if lists(headers, &header::IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == file.etag) {
            return Answer::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), file.modified)
        && modified <= since
    {
        return Answer::NotModified;
    }

    // Ranges are defined for GET alone. A date in If-Range may be of the same second as another version, so
    // only our tag counts there.
    let if_range = headers.get(header::IF_RANGE).is_none_or(|tag| tag.as_bytes() == file.etag.as_bytes());
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    match range.filter(|_| method == Method::GET && if_range).map(|value| range::parse(value, file.len)) {
        None | Some(Part::Whole) => Answer::Whole,
        Some(Part::Bytes(part)) => Answer::Part(part),
        Some(Part::Unsatisfiable) => Answer::RangeNotSatisfiable,
    }
}

/// Whether a list of tags is `*` or has one that is right. Ours have no comma inside.
fn lists(headers: &HeaderMap, name: &HeaderName, is_right: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| tag == "*" || is_right(tag))
}

/// A date; one that cannot be read is as good as none.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "Sat, 21 Nov 2026 09:59:59 GMT";
    const SAME: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
    const LATER: &str = "Sat, 21 Nov 2026 10:00:01 GMT";

    /// Ten bytes, changed in the middle of the second [`SAME`].
    fn file() -> FileVersion {
        let time = httpdate::parse_http_date(SAME).expect("a date") + Duration::from_millis(500);
        FileVersion::new(10, Some(time))
    }

    fn answer(method: Method, pairs: &[(HeaderName, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.replace("TAG", &file().etag).parse().expect("a header value"));
        }
        decide(&method, &headers, &file())
    }

    #[test]
    fn the_conditions_are_decided_as_rfc_9110_section_13_has_them() {
        use Answer::*;
        use header::*;
        let table: &[(&[(HeaderName, &str)], Answer)] = &[
            (&[], Whole),
            (&[(IF_NONE_MATCH, "TAG")], NotModified),
            (&[(IF_NONE_MATCH, "W/TAG")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\", TAG")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "TAG")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\"")], Whole),
            (&[(IF_MODIFIED_SINCE, EARLIER)], Whole),
            (&[(IF_MODIFIED_SINCE, SAME)], NotModified),
            (&[(IF_MODIFIED_SINCE, LATER)], NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Whole),
            (&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, LATER)], Whole),
            (&[(IF_MATCH, "TAG")], Whole),
            (&[(IF_MATCH, "*")], Whole),
            (&[(IF_MATCH, "\"x\"")], PreconditionFailed),
            (&[(IF_MATCH, "W/TAG")], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, EARLIER)], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, SAME)], Whole),
            (&[(IF_MATCH, "TAG"), (IF_UNMODIFIED_SINCE, EARLIER)], Whole),
            (&[(RANGE, "bytes=2-5")], Part(2..=5)),
            (&[(RANGE, "bytes=10-")], RangeNotSatisfiable),
            (&[(RANGE, "bytes=2-5"), (IF_RANGE, "TAG")], Part(2..=5)),
            (&[(RANGE, "bytes=2-5"), (IF_RANGE, "W/TAG")], Whole),
            (&[(RANGE, "bytes=2-5"), (IF_RANGE, "\"x\"")], Whole),
            (&[(RANGE, "bytes=2-5"), (IF_RANGE, SAME)], Whole),
            (&[(RANGE, "bytes=2-5"), (IF_NONE_MATCH, "TAG")], NotModified),
        ];
        for (headers, expected) in table {
            assert_eq!(answer(Method::GET, headers), *expected, "{headers:?}");
        }
        assert_eq!(answer(Method::HEAD, &[(RANGE, "bytes=2-5")]), Whole);
        assert_eq!(answer(Method::HEAD, &[(IF_NONE_MATCH, "TAG")]), NotModified);
    }

    #[test]
    fn a_version_changes_with_time_and_length() {
        let (time, later) = (UNIX_EPOCH + Duration::from_secs(1), UNIX_EPOCH + Duration::from_nanos(1_000_000_001));
        let tags = [
            FileVersion::new(10, Some(time)).etag,
            FileVersion::new(11, Some(time)).etag,
            FileVersion::new(10, Some(later)).etag,
            FileVersion::new(10, None).etag,
        ];
        assert_eq!(tags.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert!(tags.iter().all(|tag| tag.starts_with('"') && tag.ends_with('"')));
        assert_eq!(file().last_modified().as_deref(), Some(SAME));
    }
}
