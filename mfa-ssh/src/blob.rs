//! RFC 4251 section 5: bytes, numbers and strings in sequence.

use std::fmt;

/// Bytes that are not what they should be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

/// Reads a blob from its beginning.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(blob: &'a [u8]) -> Self {
        Reader(blob)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        let (string, rest) = self.0.split_at_checked(length as usize).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(string)
    }

    /// A number of 256 bits, written as "mpint", as the parts of an ECDSA signature are.
    pub(crate) fn scalar(&mut self) -> Result<[u8; 32], Malformed> {
        let digits = match self.string()? {
            // A leading zero keeps the number positive, and is allowed only if the next bit is set.
            [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => digits,
            digits if digits.first().is_some_and(|first| (1..0x80).contains(first)) => digits,
            _ => return Err(Malformed("a number is not positive, or not written in the one way there is")),
        };
        let mut scalar = [0; 32];
        let start = scalar.len().checked_sub(digits.len()).ok_or(Malformed("a number has more than 256 bits"))?;
        scalar[start..].copy_from_slice(digits);
        Ok(scalar)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("there is more behind its end")) }
    }
}

/// Appends a string to a blob.
pub(crate) fn put(blob: &mut Vec<u8>, string: &[u8]) {
    blob.extend((string.len() as u32).to_be_bytes());
    blob.extend(string);
}
