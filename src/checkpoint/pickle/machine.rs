//! The stack machine of a pickle, reduced to building a [`Tree`].

use std::collections::HashMap;

use super::bytes::Bytes;
use super::tree::{Id, Node, Tree};
use crate::checkpoint::Parsed;

/// Most values in one pickle: some hundred thousand tensors, at most 200 MB of nodes.
const MAX_NODES: usize = 1 << 22;

/// Newest protocol there is.
const MAX_PROTOCOL: u8 = 5;

struct Machine<'a> {
    bytes: Bytes<'a>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Height of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// Reads the pickle that starts at byte `position` of `all`; returns it and the offset behind it.
///
/// # Errors
/// A cut-off or malformed pickle, an opcode that is not read here, more than [`MAX_NODES`] values.
pub(in crate::checkpoint) fn read_pickle(all: &[u8], position: usize) -> Parsed<(Tree, usize)> {
    let bytes = Bytes::new(all, position);
    let mut machine = Machine { bytes, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let at = machine.bytes.position();
        let opcode = machine.bytes.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok((Tree { nodes: machine.nodes, root }, machine.bytes.position()));
        }
        let known = machine.literal(opcode)?
            || machine.bookkeeping(opcode)?
            || machine.container(opcode)?
            || machine.object(opcode)?;
        if !known {
            return Err(format!("pickle opcode 0x{opcode:02x} at byte {at} is not one a saved model uses"));
        }
    }
}

impl Machine<'_> {
    /// Opcodes that push a value written in place.
    fn literal(&mut self, opcode: u8) -> Parsed<bool> {
        let bytes = &mut self.bytes;
        let node = match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i32::from_le_bytes(bytes.array()?).into()),
            b'K' => Node::Int(bytes.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(bytes.array()?).into()),
            0x8a => {
                let length = bytes.byte()?;
                integer(bytes.take(length.into())?)
            }
            0x8b => integer(sized(bytes, 4)?),
            b'G' => Node::Float(f64::from_be_bytes(bytes.array()?)),
            b'U' | 0x8c => text(sized(bytes, 1)?),
            b'T' | b'X' => text(sized(bytes, 4)?),
            0x8d => text(sized(bytes, 8)?),
            b'C' => sized(bytes, 1).map(|_| Node::Bytes)?,
            b'B' => sized(bytes, 4).map(|_| Node::Bytes)?,
            0x8e => sized(bytes, 8).map(|_| Node::Bytes)?,
            b'c' => {
                let (module, name) = (text(bytes.line()?), text(bytes.line()?));
                let (module, name) = (self.add(module)?, self.add(name)?);
                Node::Global { module, name }
            }
            b'}' => Node::Dict(Vec::new()),
            b']' | 0x8f => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            _ => return Ok(false),
        };
        self.push(node)?;
        Ok(true)
    }

    /// Opcodes that move values between stack, marks and memo.
    fn bookkeeping(&mut self, opcode: u8) -> Parsed<bool> {
        match opcode {
            0x80 => {
                let protocol = self.bytes.byte()?;
                if protocol > MAX_PROTOCOL {
                    return Err(format!("pickle protocol {protocol} is not known, the newest is {MAX_PROTOCOL}"));
                }
            }
            0x95 => drop(self.bytes.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' => {
                let key = self.bytes.byte()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.bytes.array()?);
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let key = self.bytes.byte()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.bytes.array()?);
                self.recall(key)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that make or fill tuples, lists and dictionaries.
    fn container(&mut self, opcode: u8) -> Parsed<bool> {
        match opcode {
            b't' | b'l' | 0x91 => {
                let ids = self.pop_to_mark()?;
                self.push(if opcode == b't' { Node::Tuple(ids) } else { Node::List(ids) })?;
            }
            0x85..=0x87 => {
                let mut ids = Vec::new();
                for _ in 0..opcode - 0x84 {
                    ids.push(self.pop()?);
                }
                ids.reverse();
                self.push(Node::Tuple(ids))?;
            }
            b'd' => {
                let items = pairs(self.pop_to_mark()?)?;
                self.push(Node::Dict(items))?;
            }
            b'a' => {
                let value = self.pop()?;
                self.extend_list(vec![value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                self.extend_list(values)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let items = pairs(self.pop_to_mark()?)?;
                self.set_items(items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that would import, call or load: only noted down.
    fn object(&mut self, opcode: u8) -> Parsed<bool> {
        match opcode {
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                self.push(Node::Global { module, name })?;
            }
            b'R' | 0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?; // keyword arguments: no constructor understood here takes any
                }
                let args = self.pop()?;
                let callee = self.pop()?;
                self.push(Node::Call { callee, args, items: Vec::new() })?;
            }
            b'b' => {
                self.pop()?; // attributes set on an object, such as `_metadata` of a state dict
                self.top()?;
            }
            b'Q' => {
                let name = self.pop()?;
                self.push(Node::Persistent(name))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, node: Node) -> Parsed<Id> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("the pickle holds more than {MAX_NODES} values"));
        }
        self.nodes.push(node);
        Ok(Id(self.nodes.len() as u32 - 1))
    }

    fn push(&mut self, node: Node) -> Parsed<()> {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    /// The top of the stack above the last mark.
    fn top(&self) -> Parsed<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.malformed("takes a value from an empty stack"))
    }

    fn pop(&mut self) -> Parsed<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Parsed<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.malformed("closes a mark that was never set"))?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, key: u32) -> Parsed<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Parsed<()> {
        let id = *self.memo.get(&key).ok_or_else(|| self.malformed("recalls a value that was never remembered"))?;
        self.stack.push(id);
        Ok(())
    }

    fn extend_list(&mut self, values: Vec<Id>) -> Parsed<()> {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::List(list) => list.extend(values),
            Node::Call { .. } => {} // members of an object of a class that is no list here
            _ => return Err(self.malformed("appends to something that is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(Id, Id)>) -> Parsed<()> {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::Dict(items) | Node::Call { items, .. } => items.extend(pairs),
            _ => return Err(self.malformed("sets items on something that is no dictionary")),
        }
        Ok(())
    }

    fn malformed(&self, what: &str) -> String {
        format!("the pickle is malformed: before byte {} it {what}", self.bytes.position())
    }
}

/// Bytes after their count, a little-endian integer of `width` bytes.
fn sized<'a>(bytes: &mut Bytes<'a>, width: usize) -> Parsed<&'a [u8]> {
    let mut count = [0; 8];
    count[..width].copy_from_slice(bytes.take(width)?);
    // A count above the address space is past the end of any file too.
    bytes.take(usize::try_from(u64::from_le_bytes(count)).unwrap_or(usize::MAX))
}

fn text(bytes: &[u8]) -> Node {
    Node::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn integer(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Long(bytes.to_vec());
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xFF } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

fn pairs(ids: Vec<Id>) -> Parsed<Vec<(Id, Id)>> {
    let (pairs, rest) = ids.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("the pickle is malformed: a dictionary key has no value".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(bytes: &[u8]) -> Tree {
        let (tree, end) = read_pickle(bytes, 0).unwrap();
        assert_eq!(end, bytes.len());
        tree
    }

    #[test]
    fn integers_of_every_width_keep_their_sign() {
        // (-1 as BININT, 200 as BININT1, 40000 as BININT2, -2 and 0 as LONG1)
        let tree = tree(b"\x80\x02(J\xff\xff\xff\xffK\xc8M\x40\x9c\x8a\x01\xfe\x8a\x00t.");
        let values: Vec<_> = tree.sequence(tree.root()).unwrap().iter().map(|id| &tree.nodes[id.0 as usize]).collect();
        assert_eq!(values, [-1, 200, 40_000, -2, 0].map(Node::Int).iter().collect::<Vec<_>>());
    }

    #[test]
    fn dictionary_with_shared_value_reads_like_python() {
        // {'a': 1.5, 'b': 1.5 again through the memo}, protocol 4 with a frame
        let mut bytes = b"\x80\x04\x95\x18\0\0\0\0\0\0\0}(\x8c\x01aG".to_vec();
        bytes.extend(1.5_f64.to_be_bytes());
        bytes.extend(b"\x94\x8c\x01bh\0u.");
        let tree = tree(&bytes);
        let items = tree.items(tree.root()).unwrap();
        assert_eq!(items.iter().map(|item| tree.text(item.0).unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(items[0].1, items[1].1);
        assert_eq!(tree.plain(items[0].1).unwrap(), "1.5");
    }

    #[test]
    fn dangerous_call_is_only_a_name() {
        let tree = tree(b"cos\nsystem\n(U\x06rm -rft\x85R.");
        assert!(tree.call(tree.root()).is_some());
        assert_eq!(tree.kind(tree.root()), "an object of os.system");
    }

    #[test]
    fn ordered_dictionary_takes_items_in_both_ways() {
        let python2 = tree(b"ccollections\nOrderedDict\n(](](U\x01aK\x01eetR.");
        let python3 = tree(b"ccollections\nOrderedDict\n)R(U\x01aK\x01u}b.");
        for tree in [python2, python3] {
            let items = tree.items(tree.root()).unwrap();
            assert_eq!(items.len(), 1);
            assert_eq!((tree.text(items[0].0), tree.size(items[0].1)), (Some("a"), Some(1)));
        }
    }

    #[test]
    fn malformed_pickles_are_errors_that_say_where() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "cut off"),
            (b"K", "cut off"),
            (b"X\xff\xff\xff\x7fab", "cut off"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "cut off"),
            (b".", "empty stack"),
            (b"K\x01(.", "empty stack"),
            (b"t.", "mark"),
            (b"h\x07.", "never remembered"),
            (b"\x80\x09.", "protocol 9"),
        ];
        for (bytes, word) in cases {
            let error = read_pickle(bytes, 0).unwrap_err();
            assert!(error.contains(word), "{bytes:?}: {error}");
        }
        assert!(read_pickle(b"}(K\x01u.", 0).unwrap_err().contains("no value"));
        assert!(read_pickle(b"K\x01K\x02a.", 0).unwrap_err().contains("no list"));
        assert!(read_pickle(b"K\x01K\x02K\x03s.", 0).unwrap_err().contains("no dictionary"));
        assert!(read_pickle(b"P1\n.", 0).unwrap_err().contains("0x50 at byte 0"));
    }

    #[test]
    fn too_many_values_stop_the_reader() {
        assert!(read_pickle(&vec![b'N'; MAX_NODES + 1], 0).unwrap_err().contains("more than"));
    }
}
