//! Watches the frames of a client without understanding them: is it in the middle of one, does it send too many that
//! carry nothing, and did it begin with its settings? Pure: bytes and the time in, judgement out.

use super::super::limits;
use super::super::preface::PREFACE;
use tokio::time::Instant;

/// The header of a frame (RFC 9113 section 4.1).
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It sends more frames that carry nothing than it may.
    Flood,
    /// Its first frame is not its settings (RFC 9113 section 3.4): that is not HTTP/2. The library does not look.
    NoSettings,
}

/// See the module's text.
pub(crate) struct Meter {
    preface: usize,
    /// The first frame has come.
    begun: bool,
    header: [u8; HEADER],
    have: usize,
    /// What is to come of a frame's payload.
    left: u32,
    is_data: bool,
    /// A header block has begun and not ended.
    in_block: bool,
    since: Option<Instant>,
    tokens: u32,
    refilled: Instant,
}

impl Meter {
    /// A client that has not said a word.
    pub(crate) fn new(now: Instant) -> Meter {
        Meter {
            preface: PREFACE.len(),
            begun: false,
            header: [0; HEADER],
            have: 0,
            left: 0,
            is_data: false,
            in_block: false,
            since: Some(now),
            tokens: limits::CONTROL_FRAMES,
            refilled: now,
        }
    }

    /// Since when the client is in the middle of something that has to come whole: its preface, a frame other than
    /// DATA, or a header block.
    pub(crate) fn midway(&self) -> Option<Instant> {
        self.since
    }

    /// The client was sent something: it may acknowledge it.
    pub(crate) fn earn(&mut self) {
        self.tokens = (self.tokens + limits::CONTROL_FRAMES_A_PIECE).min(limits::CONTROL_FRAMES);
    }

    /// Takes what the client sent.
    pub(crate) fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Offence> {
        self.refill(now);
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        if preface > 0 && self.preface == 0 {
            self.since = None;
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = bytes.len().min(self.left as usize);
                self.left -= count as u32;
                bytes = &bytes[count..];
            } else {
                let count = bytes.len().min(HEADER - self.have);
                self.header[self.have..][..count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have < HEADER {
                    break;
                }
                self.have = 0;
                self.begin()?;
            }
            if self.is_whole() {
                self.since = None;
            }
        }
        if self.preface == 0 && !self.is_whole() && self.since.is_none() {
            self.since = Some(now);
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.have == 0 && (self.left == 0 || self.is_data) && !self.in_block
    }

    /// A frame's header is there.
    fn begin(&mut self) -> Result<(), Offence> {
        let [a, b, c, kind, flags, ..] = self.header;
        if !std::mem::replace(&mut self.begun, true) && (kind, flags & ACK) != (SETTINGS, 0) {
            return Err(Offence::NoSettings);
        }
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.is_data = kind == DATA;
        self.in_block = matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) && flags & END_HEADERS == 0;
        let cost = match kind {
            // What these carry is bounded by windows, by the number of streams and by the size of headers.
            DATA | HEADERS => 0,
            SETTINGS if flags & ACK == 0 => limits::SETTINGS_COST,
            _ => 1,
        };
        let paid = self.tokens.checked_sub(cost);
        self.tokens = paid.unwrap_or(0);
        paid.map(|_| ()).ok_or(Offence::Flood)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        let earned = (passed * f64::from(limits::CONTROL_FRAMES_A_SECOND)) as u32;
        if earned > 0 {
            self.refilled = now;
            self.tokens = self.tokens.saturating_add(earned).min(limits::CONTROL_FRAMES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn greeted(now: Instant) -> Meter {
        let mut meter = Meter::new(now);
        assert_eq!(meter.take(&PREFACE, now), Ok(()));
        // Its settings have come: they would cost something.
        meter.begun = true;
        meter
    }

    fn take(meter: &mut Meter, bytes: &[u8], now: Instant) {
        assert_eq!(meter.take(bytes, now), Ok(()));
    }

    #[test]
    fn a_client_that_does_not_begin_with_its_settings_does_not_speak_http2() {
        let now = Instant::now();
        for (kind, flags) in [(HEADERS, END_HEADERS), (DATA, 0), (SETTINGS, ACK), (6, 0), (77, 0)] {
            let bytes = [&PREFACE[..], &frame(kind, flags, b"")].concat();
            for step in [1, 30, bytes.len()] {
                let mut meter = Meter::new(now);
                let last = bytes.chunks(step).map(|piece| meter.take(piece, now)).last();
                assert_eq!(last, Some(Err(Offence::NoSettings)), "{kind}");
            }
        }
    }

    #[test]
    fn a_client_is_midway_until_what_it_began_is_whole() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut meter = Meter::new(now);
        assert_eq!(meter.midway(), Some(now), "in its preface");
        take(&mut meter, &PREFACE[..3], later);
        assert_eq!(meter.midway(), Some(now));
        take(&mut meter, &PREFACE[3..], later);
        assert_eq!(meter.midway(), None);
        take(&mut meter, &frame(SETTINGS, 0, b""), later);
        for (begun, rest) in [
            (&frame(HEADERS, END_HEADERS, b"abc")[..5], &frame(HEADERS, END_HEADERS, b"abc")[5..]),
            (&frame(HEADERS, END_HEADERS, b"abc")[..10], &frame(HEADERS, END_HEADERS, b"abc")[10..]),
            (&frame(HEADERS, 0, b"abc"), &frame(CONTINUATION, END_HEADERS, b"def")),
            (&frame(6, 0, &[0; 8])[..16], &frame(6, 0, &[0; 8])[16..]),
            (&frame(DATA, 0, b"abc")[..8], &frame(DATA, 0, b"abc")[8..9]),
        ] {
            take(&mut meter, begun, now);
            assert_eq!(meter.midway(), Some(now), "{begun:?}");
            // Byte by byte: it is the beginning that counts.
            let (last, before) = rest.split_last().expect("something");
            for byte in before {
                take(&mut meter, &[*byte], later);
                assert_eq!(meter.midway(), Some(now), "{begun:?}");
            }
            take(&mut meter, &[*last], later);
            assert_eq!(meter.midway(), None, "{begun:?} {rest:?}");
            if begun[3..].first() == Some(&DATA) {
                take(&mut meter, b"abc", later);
            }
        }
    }

    #[test]
    fn data_has_the_time_of_the_body_that_it_belongs_to() {
        let now = Instant::now();
        let mut meter = greeted(now);
        take(&mut meter, &frame(DATA, 0, b"abc")[..10], now);
        assert_eq!(meter.midway(), None);
    }

    #[test]
    fn frames_that_carry_nothing_are_taken_until_the_budget_is_used() {
        let now = Instant::now();
        for (kind, payload) in [(2, 5), (3, 4), (6, 8), (8, 4), (CONTINUATION, 0), (77, 0)] {
            let mut meter = greeted(now);
            let one = frame(kind, END_HEADERS, &vec![0; payload]);
            for _ in 0..limits::CONTROL_FRAMES {
                assert_eq!(meter.take(&one, now), Ok(()), "{kind}");
            }
            assert_eq!(meter.take(&one, now), Err(Offence::Flood), "{kind}");
            assert!(meter.take(&one, now + Duration::from_secs(1)).is_ok(), "{kind}: a second later some more");
        }
    }

    #[test]
    fn what_is_sent_may_be_acknowledged_and_data_costs_nothing() {
        let now = Instant::now();
        let mut meter = greeted(now);
        for _ in 0..10 * limits::CONTROL_FRAMES {
            meter.earn();
            for frame in [frame(8, 0, &[0; 4]), frame(8, 0, &[0; 4]), frame(DATA, 0, b"x"), frame(HEADERS, 4, b"x")] {
                take(&mut meter, &frame, now);
            }
        }
    }

    #[test]
    fn how_frames_are_cut_into_reads_makes_no_difference() {
        let now = Instant::now();
        let pings = (0..300).flat_map(|_| frame(6, 0, &[7; 8]));
        let bytes: Vec<u8> = PREFACE.into_iter().chain(frame(SETTINGS, 0, b"")).chain(pings).collect();
        for step in [1, 2, 7, 17, 64, bytes.len()] {
            let mut meter = Meter::new(now);
            for piece in bytes.chunks(step) {
                take(&mut meter, piece, now);
            }
            assert_eq!(meter.tokens, limits::CONTROL_FRAMES - limits::SETTINGS_COST - 300, "{step}");
            assert_eq!(meter.midway(), None);
        }
    }
}
