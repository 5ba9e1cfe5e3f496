//! What a pickle would build, as a graph of nodes that refer to each other by number.
//!
//! Nodes live in one vector: sharing costs nothing, and dropping a deeply nested file does not recurse.

/// The number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Id(pub(super) u32);

/// One value of the pickle.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 8 bytes, little-endian two's complement.
    Long(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes,
    /// A name to import; both parts are texts. Kept as a name only.
    Global {
        module: Id,
        name: Id,
    },
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object that a global would make of a tuple of arguments, and the items then set on it.
    Call {
        callee: Id,
        args: Id,
        items: Vec<(Id, Id)>,
    },
    /// A reference to something outside the pickle: a storage.
    Persistent(Id),
}

/// A whole pickle.
#[derive(Debug)]
pub(in crate::checkpoint) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Tree {
    /// The value the pickle stands for.
    pub(in crate::checkpoint) fn root(&self) -> Id {
        self.root
    }

    /// All values, in the order of their making.
    pub(in crate::checkpoint) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.nodes.len() as u32).map(Id)
    }

    fn node(&self, id: Id) -> &Node {
        // Ids are only made by the machine that filled `nodes`, which never shrinks.
        &self.nodes[id.0 as usize]
    }

    /// A text.
    pub(in crate::checkpoint) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer that is a size or an offset.
    pub(in crate::checkpoint) fn size(&self, id: Id) -> Option<usize> {
        match self.node(id) {
            Node::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The bytes of an integer above 8 bytes.
    pub(in crate::checkpoint) fn long(&self, id: Id) -> Option<&[u8]> {
        match self.node(id) {
            Node::Long(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The members of a tuple or list.
    pub(in crate::checkpoint) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(ids) | Node::List(ids) => Some(ids),
            _ => None,
        }
    }

    /// Module and name of a global.
    pub(in crate::checkpoint) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global { module, name } => Some((self.text(*module)?, self.text(*name)?)),
            _ => None,
        }
    }

    /// Module and name of what is called, and its arguments.
    pub(in crate::checkpoint) fn call(&self, id: Id) -> Option<((&str, &str), &[Id])> {
        match self.node(id) {
            Node::Call { callee, args, .. } => Some((self.global(*callee)?, self.sequence(*args)?)),
            _ => None,
        }
    }

    /// What a persistent reference names.
    pub(in crate::checkpoint) fn persistent(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Persistent(name) => self.sequence(*name),
            _ => None,
        }
    }

    /// Keys and values of a dictionary, ordered or not.
    pub(in crate::checkpoint) fn items(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        match self.node(id) {
            Node::Dict(items) => Some(items.clone()),
            Node::Call { items, .. } => {
                let (callee, args) = self.call(id)?;
                if callee != ("collections", "OrderedDict") {
                    return None;
                }
                // Python 2 passes the items as a list of pairs, Python 3 sets them afterwards.
                let mut all = Vec::new();
                for &pair in args.first().and_then(|&list| self.sequence(list)).unwrap_or_default() {
                    let &[key, value] = self.sequence(pair)? else { return None };
                    all.push((key, value));
                }
                all.extend(items);
                Some(all)
            }
            _ => None,
        }
    }

    /// A number, truth value or short text as text.
    pub(in crate::checkpoint) fn plain(&self, id: Id) -> Option<String> {
        match self.node(id) {
            Node::Bool(value) => Some(value.to_string()),
            Node::Int(value) => Some(value.to_string()),
            Node::Float(value) => Some(value.to_string()),
            Node::Text(text) if text.len() <= 200 => Some(text.clone()),
            _ => None,
        }
    }

    /// What kind of value it is, in words.
    pub(in crate::checkpoint) fn kind(&self, id: Id) -> String {
        let name_of = |id| match self.global(id) {
            Some((module, name)) => {
                module.chars().take(60).chain(['.']).chain(name.chars().take(60)).collect::<String>()
            }
            None => "an unknown class".to_string(),
        };
        match self.node(id) {
            Node::None => "None".to_string(),
            Node::Bool(_) => "a truth value".to_string(),
            Node::Int(_) | Node::Long(_) | Node::Float(_) => "a number".to_string(),
            Node::Text(_) => "a text".to_string(),
            Node::Bytes => "bytes".to_string(),
            Node::Global { .. } => format!("the name {}", name_of(id)),
            Node::Tuple(_) | Node::List(_) => "a list".to_string(),
            Node::Dict(_) => "a dictionary".to_string(),
            Node::Call { callee, .. } => format!("an object of {}", name_of(*callee)),
            Node::Persistent(_) => "a storage".to_string(),
        }
    }
}
