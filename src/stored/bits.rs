//! Codes of any width in bytes.

/// Packs codes of `bits` bits, from the lowest bit of the first byte up; every `row` codes start on a byte.
pub(super) fn pack_rows(codes: impl Iterator<Item = u32>, row: usize, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Bits that wait for their byte to fill, and how many they are.
    let (mut waiting, mut count, mut column) = (0_u64, 0, 0);
    for code in codes {
        waiting |= u64::from(code) << count;
        count += bits;
        column += 1;
        while count >= 8 || (column == row && count > 0) {
            bytes.push(waiting as u8);
            waiting >>= 8;
            count = count.saturating_sub(8);
        }
        if column == row {
            (waiting, column) = (0, 0);
        }
    }
    bytes
}

/// The codes that [`pack_rows`] packed: `rows` rows of `row` codes.
pub(super) fn unpack_rows(bytes: &[u8], rows: usize, row: usize, bits: u32) -> impl Iterator<Item = u32> {
    let stride = (row * bits as usize).div_ceil(8);
    let mask = u64::MAX >> (64 - bits);
    (0..rows * row).map(move |index| {
        let (line, first) = (&bytes[index / row * stride..], index % row * bits as usize);
        let part = line[first / 8..].iter().take(5).enumerate();
        let word = part.fold(0_u64, |word, (at, &byte)| word | u64::from(byte) << (8 * at));
        (word >> (first % 8) & mask) as u32
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_fill_bytes_from_below_and_rows_start_anew() {
        // 3-bit codes 1, 2, 3 | 7, 0, 5: row 0 is 0b011_010_001 in nine bits.
        let bytes = pack_rows([1, 2, 3, 7, 0, 5].into_iter(), 3, 3);
        assert_eq!(bytes, [0b1101_0001, 0b0, 0b0100_0111, 0b1]);
        assert_eq!(unpack_rows(&bytes, 2, 3, 3).collect::<Vec<_>>(), [1, 2, 3, 7, 0, 5]);
    }

    #[test]
    fn whole_words_are_little_endian() {
        assert_eq!(pack_rows([0x1234_5678].into_iter(), 1, 32), [0x78, 0x56, 0x34, 0x12]);
    }

    proptest! {
        #[test]
        fn every_width_comes_back(bits in 1_u32..=32, row in 1_usize..20, rows in 1_usize..5, seed in any::<u64>()) {
            let code = |index: usize| {
                let mixed = (index as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (mixed >> 32 & (u64::MAX >> (64 - bits))) as u32
            };
            let codes: Vec<u32> = (0..rows * row).map(code).collect();
            let bytes = pack_rows(codes.iter().copied(), row, bits);
            prop_assert_eq!(bytes.len(), rows * (row * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack_rows(&bytes, rows, row, bits).collect::<Vec<_>>(), codes);
        }
    }
}
