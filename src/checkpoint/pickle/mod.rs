//! Reading a Python pickle as data: the tree of what it would build, with nothing imported or called.
//!
//! Covers the binary opcodes of protocols 1 to 5 that PyTorch files use (Python's `pickletools` documents them).

mod bytes;
mod machine;
mod tree;

pub(super) use bytes::Bytes;
pub(super) use machine::read_pickle;
pub(super) use tree::{Id, Tree};
