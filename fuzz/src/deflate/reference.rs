//! RFC 1951, written to be read: bit by bit, a code at a time.

/// A message as RFC 7692 section 7.2.2 has it: deflate streams one behind the other, the last of which ends with the
/// message or with the tail. `None` if it is none, or is longer than `max`, or looks back beyond `reach`.
pub(super) fn message(message: &[u8], tail: &[u8], window: &[u8], max: usize, reach: usize) -> Option<Vec<u8>> {
    if message.is_empty() {
        return Some(Vec::new());
    }
    let whole = [message, tail].concat();
    let mut bits = Bits { bytes: &whole, at: 0 };
    let mut out = Out { bytes: window.to_vec(), most: window.len() + max, reach };
    for _ in 0..4096 {
        while !block(&mut bits, &mut out)? {}
        let at = bits.at.div_ceil(8);
        bits.at = at * 8;
        if at == message.len() || at == whole.len() {
            return Some(out.bytes.split_off(window.len()));
        }
        if at > message.len() {
            return None;
        }
    }
    None
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next bits as a number, lowest first (section 3.1.1).
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut number = 0;
        for place in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            number |= usize::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(number)
    }
}

struct Out {
    /// The window, then what came out.
    bytes: Vec<u8>,
    most: usize,
    reach: usize,
}

impl Out {
    fn push(&mut self, byte: u8) -> Option<()> {
        (self.bytes.len() < self.most).then(|| self.bytes.push(byte))
    }

    fn copy(&mut self, length: usize, distance: usize) -> Option<()> {
        let from = self.bytes.len().checked_sub(distance).filter(|_| distance <= self.reach)?;
        (from..from + length).try_for_each(|at| self.push(self.bytes[at]))
    }
}

/// One block; whether it was the final one (section 3.2.3).
fn block(bits: &mut Bits<'_>, out: &mut Out) -> Option<bool> {
    let last = bits.take(1)? == 1;
    match bits.take(2)? {
        0 => {
            bits.at = bits.at.next_multiple_of(8);
            let (length, check) = (bits.take(16)?, bits.take(16)?);
            if length != !check & 0xffff {
                return None;
            }
            for _ in 0..length {
                let byte = bits.take(8)?;
                out.push(byte as u8)?;
            }
        }
        1 => {
            let of = |symbol| match symbol {
                0..144 => 8,
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            };
            let lengths: Vec<usize> = (0..288).map(of).collect();
            symbols(bits, out, &Code::new(&lengths, true)?, &Code::new(&[5; 32], true)?)?;
        }
        2 => {
            let (literals, distances) = tables(bits)?;
            symbols(bits, out, &literals, &distances)?;
        }
        _ => return None,
    }
    Some(last)
}

/// The codes of a block that brings its own (section 3.2.7).
fn tables(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, count) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    if literals > 286 || distances > 30 {
        return None;
    }
    let mut lengths = [0; 19];
    for place in &ORDER[..count] {
        lengths[*place] = bits.take(3)?;
    }
    let code = Code::new(&lengths, true)?;
    let mut all = Vec::new();
    while all.len() < literals + distances {
        let (length, times) = match code.read(bits)? {
            16 => (*all.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length, 1),
        };
        all.extend(std::iter::repeat_n(length, times));
    }
    // A block must be able to end, and no repetition reaches beyond the last code.
    let whole = all.len() == literals + distances && all[256] != 0;
    whole.then_some(())?;
    Some((Code::new(&all[..literals], false)?, Code::new(&all[literals..], false)?))
}

/// Literals and copies until the block ends (section 3.2.5).
fn symbols(bits: &mut Bits<'_>, out: &mut Out, literals: &Code, distances: &Code) -> Option<()> {
    loop {
        let symbol = literals.read(bits)?;
        let length = match symbol {
            0..256 => {
                out.push(symbol as u8)?;
                continue;
            }
            256 => return Some(()),
            257..265 => symbol - 254,
            265..285 => {
                let extra = (symbol - 261) / 4;
                3 + ((4 + (symbol - 265) % 4) << extra) + bits.take(extra)?
            }
            285 => 258,
            _ => return None,
        };
        let distance = match distances.read(bits)? {
            symbol @ 0..4 => symbol + 1,
            symbol @ 4..30 => {
                let extra = symbol / 2 - 1;
                1 + ((2 + symbol % 2) << extra) + bits.take(extra)?
            }
            _ => return None,
        };
        out.copy(length, distance)?;
    }
}

/// A code by the lengths of its words (section 3.2.2).
struct Code {
    /// How many words have so many bits.
    counts: [usize; 16],
    /// Symbols by the length of their words, then by their number.
    symbols: Vec<usize>,
}

impl Code {
    /// `None`: more words than there can be, or fewer, unless that is allowed: all may be missing, or all but one of one
    /// bit, which is what an encoder writes that needs no distances, or one.
    fn new(lengths: &[usize], complete: bool) -> Option<Code> {
        let mut counts = [0; 16];
        lengths.iter().for_each(|length| counts[*length] += 1);
        counts[0] = 0;
        let mut left = 1_usize;
        for count in &counts[1..] {
            left = (left * 2).checked_sub(*count)?;
        }
        let few = counts[2..].iter().all(|count| *count == 0);
        if left > 0 && (complete || !few) {
            return None;
        }
        let of_length = |wanted| lengths.iter().enumerate().filter(move |(_, length)| **length == wanted);
        let symbols = (1..16).flat_map(of_length).map(|(symbol, _)| symbol).collect();
        Some(Code { counts, symbols })
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut word, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            word |= bits.take(1)?;
            if word < first + count {
                return Some(self.symbols[index + (word - first)]);
            }
            index += count;
            first = (first + count) * 2;
            word *= 2;
        }
        None
    }
}
