//! Bytes from and to one socket.

use super::super::session::Outbox;
use rustix::fd::BorrowedFd;
use rustix::io::{Errno, IoSlice};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use smallvec::SmallVec;
use std::ops::Range;

/// Pieces up to this size are copied together; larger ones are written from where they are.
const COPIED: usize = 2 << 10;
/// What is copied together for one write.
const CORK: usize = 64 << 10;
/// Pieces of one write.
const PIECES: usize = 64;

/// The outcome of reading once.
pub(crate) enum Read {
    /// So many bytes came.
    Some(usize),
    /// Nothing is there.
    Nothing,
    /// The peer's FIN.
    Fin,
    /// The connection is broken.
    Broken,
}

/// The outcome of writing once.
pub(crate) enum Written {
    /// So many bytes were taken; if `blocked`, no more are now.
    Some { bytes: usize, blocked: bool },
    /// The connection is broken.
    Broken,
}

enum Part<'a> {
    Copied(Range<usize>),
    Direct(&'a [u8]),
}

/// Reads once.
pub(crate) fn read(socket: BorrowedFd<'_>, into: &mut [u8]) -> Read {
    loop {
        return match recv(socket, &mut *into, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Read::Fin,
            Ok((bytes, _)) => Read::Some(bytes),
            Err(Errno::AGAIN) => Read::Nothing,
            Err(Errno::INTR) => continue,
            Err(_) => Read::Broken,
        };
    }
}

/// Writes once: as much as one call takes of what waits. `cork` is scratch memory, the same for all sockets.
pub(crate) fn write(socket: BorrowedFd<'_>, outbox: &mut Outbox, cork: &mut Vec<u8>) -> Written {
    cork.clear();
    let mut parts = SmallVec::<[Part<'_>; PIECES]>::new();
    let mut total = 0;
    outbox.gather(|piece| {
        if piece.len() > COPIED {
            parts.push(Part::Direct(piece));
        } else if cork.len() + piece.len() > CORK {
            return false;
        } else {
            let start = cork.len();
            cork.extend_from_slice(piece);
            match parts.last_mut() {
                Some(Part::Copied(range)) => range.end = cork.len(),
                _ => parts.push(Part::Copied(start..cork.len())),
            }
        }
        total += piece.len();
        parts.len() < PIECES
    });
    let slices: SmallVec<[IoSlice<'_>; PIECES]> = parts
        .iter()
        .map(|part| match part {
            Part::Copied(range) => IoSlice::new(&cork[range.clone()]),
            Part::Direct(piece) => IoSlice::new(piece),
        })
        .collect();
    loop {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        return match sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(bytes) => Written::Some { bytes, blocked: bytes < total },
            Err(Errno::AGAIN) => Written::Some { bytes: 0, blocked: true },
            Err(Errno::INTR) => continue,
            Err(_) => Written::Broken,
        };
    }
}
