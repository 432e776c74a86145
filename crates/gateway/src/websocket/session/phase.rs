//! Where a session stands, and what its socket has to do for it.

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The handshake is not answered yet: the target is watched, and has not been told.
    New,
    /// Messages flow.
    Open,
    /// The process has ended; what waits goes out, a close frame last.
    Closing(Answer),
    /// The socket is to be closed as it stands.
    Cut,
}

/// The client's own close frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It may come.
    Missing,
    /// It will not be looked for; who knows what comes.
    Unsought,
    /// It was the last that came.
    Given,
}

/// What the socket has to do for its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Read and hand over.
    Read,
    /// Do not read: the target, a rate or the queue has to catch up.
    Pause,
    /// The process has ended: read and hand over until the client has answered.
    Linger,
    /// Nothing more is said: say FIN, then discard what comes until the client does.
    Finish,
    /// The close handshake is complete, and neither side has anything to say (RFC 6455 section 7.1.1).
    Done,
    /// Close at once.
    Cut,
}
