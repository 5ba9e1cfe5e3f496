//! Named child random streams: one seed, and every part of a run draws from a stream of its own.
//!
//! A stream depends only on the root seed and the names on the way to it, never on how much another
//! part has drawn, so a resumed run needs no generator state: it asks for the same stream again.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A point in the tree of random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The root of a run, from `--seed N`.
    pub fn new(root: u64) -> Self {
        Self(mix(root))
    }

    /// The child stream called `name` (`data`, `weights`, `search`).
    pub fn child(self, name: &str) -> Self {
        name.bytes().fold(self, |seed, byte| seed.at(u64::from(byte)))
    }

    /// The `index`-th stream below this one (an epoch, a step, a generation).
    pub fn at(self, index: u64) -> Self {
        // The parent is mixed once more than the index: else `new(a).at(b)` and `new(b).at(a)` would be one stream.
        Self(mix(mix(self.0) ^ mix(index)))
    }

    /// A generator at the start of this stream.
    pub fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }

    /// The stream's number, for libraries that take a plain seed.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that spreads every bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_the_reference_sequence() {
        // First output of the published SplitMix64 for seed 1234567.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn streams_differ_by_name_index_and_root() {
        let root = Seed::new(0);
        let all =
            [root, root.child("data"), root.child("search"), root.at(0), root.at(1), root.at(0).at(1), Seed::new(1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(Seed::new(1).at(2), Seed::new(2).at(1));
        assert_eq!(Seed::new(7).child("data"), Seed::new(7).child("data"));
    }
}
