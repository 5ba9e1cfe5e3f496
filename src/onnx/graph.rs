//! A graph under construction: nodes, constants, the lowest opset that has everything used.

use super::element::Element;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use super::proto::{
    DimensionProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::formats::Format;

/// Code of float32 in `TensorProto.DataType`.
pub(super) const FLOAT: i32 = 1;
/// Code of int64.
const INT64: i32 = 7;
/// Attribute kinds: a float, an integer, a list of those.
const ATTRIBUTE_FLOAT: i32 = 1;
const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_INTS: i32 = 7;

/// What readers of ONNX files differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Whether QuantizeLinear and DequantizeLinear stand for float8, instead of Cast.
    pub quantize_to_fp8: bool,
    /// Integers of fewer bits are stored as this format.
    pub narrowest: Format,
    /// Whether weights in bytes are stored unsigned, around 128.
    pub unsigned_weights: bool,
    /// Whether tensors with negative values are signed bytes, instead of unsigned ones around 128.
    pub signed_activations: bool,
    /// Whether images get channels of zeros up to a multiple of four where that makes the first convolution faster.
    pub widens_images: bool,
}

impl Default for Dialect {
    /// That of ONNX Runtime on a CPU, which fails on a file that mixes QuantizeLinear to float8 with integers.
    fn default() -> Self {
        Self {
            quantize_to_fp8: false,
            narrowest: Format::Int(2),
            unsigned_weights: false,
            signed_activations: false,
            widens_images: true,
        }
    }
}

/// Nodes and constants so far.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    opset: i64,
    /// How its reader wants it.
    pub(super) dialect: Dialect,
    /// Whether a format without arithmetic of its own in ONNX is imitated in float32.
    pub(super) simulated: bool,
}

impl Graph {
    /// An empty graph; opset 13 has integers with one scale a channel.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { nodes: Vec::new(), initializers: Vec::new(), opset: 13, dialect, simulated: false }
    }

    /// Adds a node with one output, whose name it returns.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(format!("{output}/{op}")),
            op_type: Some(op.to_owned()),
            attribute: attributes,
            domain: None,
        });
        output.to_owned()
    }

    /// Adds a float32 constant; no dimensions make a scalar.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.constant(name, dims, FLOAT, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds a list of 64-bit integers.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.constant(name, &[values.len()], INT64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds a constant of an element type, from bit patterns, packed as ONNX packs them.
    pub(super) fn codes(&mut self, name: &str, dims: &[usize], element: Element, codes: &[u32]) -> String {
        self.opset = self.opset.max(element.opset);
        self.constant(name, dims, element.code, element.pack(codes))
    }

    /// Asks for at least this opset.
    pub(super) fn need(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }

    fn constant(&mut self, name: &str, dims: &[usize], data_type: i32, bytes: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            dims: dims.iter().map(|&size| size as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(bytes),
        });
        name.to_owned()
    }

    /// The finished model: one input `[N, ...]`, one output `[N, classes]`.
    pub(super) fn finish(
        self,
        name: &str,
        (input, shape): (&str, [usize; 3]),
        (output, classes): (&str, usize),
        metadata: &[(String, String)],
    ) -> ModelProto {
        let graph = GraphProto {
            node: self.nodes,
            name: Some(name.to_owned()),
            initializer: self.initializers,
            input: vec![value(input, &shape)],
            output: vec![value(output, &[classes])],
        };
        ModelProto {
            ir_version: Some(ir_version(self.opset)),
            producer_name: Some("bitfront".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            metadata_props: metadata.iter().map(|(key, value)| entry(key, value)).collect(),
        }
    }
}

/// An entry of a model's metadata.
pub fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// The file format version that came with an opset (onnx's versioning table).
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=13 => 7,
        14..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// A float32 tensor with a free first dimension.
fn value(name: &str, sizes: &[usize]) -> ValueInfoProto {
    let fixed = sizes.iter().map(|&size| DimensionProto { dim_value: Some(size as i64), dim_param: None });
    let free = DimensionProto { dim_value: None, dim_param: Some("N".to_owned()) };
    let shape = TensorShapeProto { dim: std::iter::once(free).chain(fixed).collect() };
    let tensor_type = Some(TensorTypeProto { elem_type: Some(FLOAT), shape: Some(shape) });
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type }) }
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), f: None, i: Some(value), ints: vec![], r#type: Some(ATTRIBUTE_INT) }
}

/// A float attribute.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), f: Some(value), i: None, ints: vec![], r#type: Some(ATTRIBUTE_FLOAT) }
}

/// An attribute that is a list of integers.
pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: Some(name.to_owned()), f: None, i: None, ints, r#type: Some(ATTRIBUTE_INTS) }
}
