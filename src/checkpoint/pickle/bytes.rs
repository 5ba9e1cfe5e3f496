//! A cursor over bytes that never reads past the end.

use crate::checkpoint::Parsed;

/// The bytes of a file and how far they are read.
pub(in crate::checkpoint) struct Bytes<'a> {
    all: &'a [u8],
    position: usize,
}

impl<'a> Bytes<'a> {
    /// Starts reading `all` at byte `position`.
    pub(in crate::checkpoint) fn new(all: &'a [u8], position: usize) -> Self {
        Self { all, position: position.min(all.len()) }
    }

    /// The offset of the next byte.
    pub(in crate::checkpoint) fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bytes.
    pub(in crate::checkpoint) fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let rest = &self.all[self.position..];
        let taken = rest.get(..count).ok_or_else(|| {
            format!("is cut off: {count} bytes are needed at byte {}, {} are left", self.position, rest.len())
        })?;
        self.position += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(in crate::checkpoint) fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Parsed<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The bytes up to the next line feed, which is passed over.
    pub(super) fn line(&mut self) -> Parsed<&'a [u8]> {
        let rest = &self.all[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| format!("is cut off: no end of the line at byte {}", self.position))?;
        self.position += length + 1;
        Ok(&rest[..length])
    }
}
