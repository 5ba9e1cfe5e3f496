//! A network with its arrays as an ONNX model.

use super::attention;
use super::element::Element;
use super::graph::{Dialect, FLOAT, Graph, float, int, ints};
use super::proto::ModelProto;
use super::quantizers;
use super::shortcut;
use super::widened;
use crate::error::Result;
use crate::formats::Format;
use crate::network::Act;
use crate::network::LayerSpec;
use crate::network::Op;
use crate::network::Source;
use crate::stored::LARGEST_BIAS;
use crate::stored::StoredLayer;
use crate::stored::StoredNetwork;
use crate::stored::takes_integer_bias;

/// Name of the model's input: normalised images `[N, c, h, w]`.
pub const INPUT: &str = "input";
/// Name of the model's output: `[N, classes]`.
pub const OUTPUT: &str = "logits";

/// A model, and what running it means.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    /// The messages to encode.
    pub proto: ModelProto,
    /// Whether it imitates a format in float32, so that its time says nothing about the format.
    pub simulated: bool,
}

/// Writes a network down in ONNX operators.
///
/// # Errors
/// A granularity that cannot be written, with the layer's name.
pub fn model(stored: &StoredNetwork, dialect: Dialect, metadata: &[(String, String)]) -> Result<OnnxModel> {
    let network = &stored.network;
    let missing = if dialect.widens_images { widened::missing_channels(stored) } else { 0 };
    let mut writer =
        Writer { graph: Graph::new(dialect), stored, missing, input: INPUT.to_owned(), outputs: Vec::new() };
    if missing > 0 {
        writer.input = widened::images(&mut writer.graph, INPUT, missing);
    }
    if let Some(scale) = stored.input_scale {
        writer.input = quantizers::point(&mut writer.graph, &writer.input, INPUT, &network.input_point, scale);
    }
    for index in 0..network.layers.len() {
        let output = writer.layer(index)?;
        writer.outputs.push(output);
    }
    let shape = [network.input.c, network.input.h, network.input.w];
    let simulated = writer.graph.simulated;
    let proto = writer.graph.finish(&network.model, (INPUT, shape), (OUTPUT, network.classes), metadata);
    Ok(OnnxModel { proto, simulated })
}

struct Writer<'a> {
    graph: Graph,
    stored: &'a StoredNetwork,
    /// Channels of zeros that the images get.
    missing: usize,
    /// Tensor that readers of the input read.
    input: String,
    /// Tensors that readers of each layer read.
    outputs: Vec<String>,
}

impl Writer<'_> {
    fn read(&self, source: Source) -> String {
        match source {
            Source::Input => self.input.clone(),
            Source::Layer(index) => self.outputs[index].clone(),
        }
    }

    /// Adds a layer, its activation and its quantization point; returns the tensor to read.
    fn layer(&mut self, index: usize) -> Result<String> {
        let layer = &self.stored.network.layers[index];
        let last = index + 1 == self.stored.network.layers.len();
        let name = if last { OUTPUT } else { layer.name.as_str() };
        let integer = layer.point.as_ref().is_some_and(|point| point.spec.format.is_integer());
        // The quantizer of a nonnegative tensor is its ReLU, and its ReLU6 where it ends by 6; elsewhere they stand alone.
        let ends_by_6 = match (&layer.point, self.stored.scales[index]) {
            (Some(point), Some(scale)) => point.spec.format.max() * f64::from(scale) <= 6.0 * (1.0 + 1e-6),
            _ => false,
        };
        let alone = match layer.act {
            Act::None => false,
            Act::Relu => !integer,
            Act::Relu6 => !(integer && ends_by_6),
            Act::Gelu | Act::Swish | Act::HardSwish | Act::HardSigmoid => true,
        };
        let raw = if alone { format!("{name}_linear") } else { name.to_owned() };
        let mut x = self.operator(index, layer, &raw)?;
        if alone {
            x = self.activation(layer.act, &x, name);
        }
        match (&layer.point, self.stored.scales[index]) {
            (Some(point), _) if point.is_by_token() => quantizers::by_token(&mut self.graph, &x, name, point),
            (Some(point), Some(scale)) => Ok(quantizers::point(&mut self.graph, &x, name, point, scale)),
            _ if matches!(layer.op, Op::MaxPool { .. } | Op::PadShortcut { .. }) => Ok(self.repeated(layer, &x)),
            _ => Ok(x),
        }
    }

    fn activation(&mut self, act: Act, x: &str, name: &str) -> String {
        let graph = &mut self.graph;
        match act {
            Act::None => x.to_owned(),
            Act::Relu => graph.node("Relu", &[x], name, vec![]),
            Act::Relu6 => {
                let low = graph.floats(&format!("{name}_zero"), &[], &[0.0]);
                let high = graph.floats(&format!("{name}_six"), &[], &[6.0]);
                graph.node("Clip", &[x, &low, &high], name, vec![])
            }
            Act::Gelu => attention::gelu(graph, x, name),
            Act::Swish => {
                let gate = graph.node("Sigmoid", &[x], &format!("{name}_gate"), vec![]);
                graph.node("Mul", &[x, &gate], name, vec![])
            }
            Act::HardSwish => {
                graph.need(14);
                graph.node("HardSwish", &[x], name, vec![])
            }
            Act::HardSigmoid => graph.node("HardSigmoid", &[x], name, vec![float("alpha", 1.0 / 6.0)]),
        }
    }

    /// An integer quantizer again behind an operator that only moves values: changes none, lets runtimes fuse.
    fn repeated(&mut self, layer: &LayerSpec, x: &str) -> String {
        let source = layer.inputs[0];
        match (self.stored.network.point(source), self.stored.scale(source)) {
            (Some(point), Some(scale)) if point.spec.format.is_integer() => {
                quantizers::point(&mut self.graph, x, &format!("{x}_again"), point, scale)
            }
            _ => x.to_owned(),
        }
    }

    /// A dequantized integer tensor for a layer whose weights are no integers, by Cast, Sub and Mul: where ONNX Runtime sees
    /// DequantizeLinear in front of such a layer, it quantizes the weights to int8 on its own. (Two such tensors in front of
    /// a product it multiplies as integers, with other results than in float32.)
    fn hidden(&mut self, x: &str, source: Source, output: &str) -> String {
        let quantized = x.strip_suffix("_dequantized").map(|stem| format!("{stem}_quantized"));
        match (quantized, self.stored.network.point(source), self.stored.scale(source)) {
            (Some(quantized), Some(point), Some(scale)) if point.spec.format.is_integer() => {
                let signed = self.graph.dialect.signed_activations;
                let zero = Element::of_activation(point.spec.format, signed).map_or(0, |(_, zero)| zero);
                let scale = self.graph.floats(&format!("{output}_input_scale"), &[], &[scale]);
                let to_float = vec![int("to", FLOAT.into())];
                let mut codes = self.graph.node("Cast", &[&quantized], &format!("{output}_input_codes"), to_float);
                if zero > 0 {
                    let zero = self.graph.floats(&format!("{output}_input_zero"), &[], &[zero.into()]);
                    codes = self.graph.node("Sub", &[&codes, &zero], &format!("{output}_input_centred"), vec![]);
                }
                self.graph.node("Mul", &[&codes, &scale], &format!("{output}_input"), vec![])
            }
            _ => x.to_owned(),
        }
    }

    fn operator(&mut self, index: usize, layer: &LayerSpec, output: &str) -> Result<String> {
        let mut x = self.read(layer.inputs[0]);
        let arrays = self.stored.layers[index].as_ref();
        let beside_float = arrays.is_some_and(|arrays| !arrays.weight.spec.format.is_integer());
        if beside_float || matches!(layer.op, Op::AttentionValues { .. }) {
            x = self.hidden(&x, layer.inputs[0], output);
        }
        Ok(match (layer.op, arrays) {
            (Op::Conv(conv), Some(arrays)) => {
                let (weight, bias) = self.arrays(layer, arrays)?;
                let (begin, end) = (conv.padding, conv.padding + conv.extra_end);
                let attributes = vec![
                    ints("kernel_shape", &[conv.kernel; 2]),
                    ints("strides", &[conv.stride; 2]),
                    ints("pads", &[begin, begin, end, end]),
                    int("group", conv.groups as i64),
                ];
                self.graph.node("Conv", &[&x, &weight, &bias], output, attributes)
            }
            (Op::Linear { .. }, Some(arrays)) if layer.output.h * layer.output.w > 1 => {
                let (weight, bias) = self.arrays(layer, arrays)?;
                let sizes = [layer.output.h, self.stored.network.shape(layer.inputs[0]).c, layer.output.c];
                attention::linear(&mut self.graph, [&x, &weight, &bias], sizes, output)
            }
            (Op::Linear { .. }, Some(arrays)) => {
                let flat = self.graph.node("Flatten", &[&x], &format!("{output}_flat"), vec![int("axis", 1)]);
                let flat = if arrays.weight.spec.format.is_integer() { self.repeated(layer, &flat) } else { flat };
                let (weight, bias) = self.arrays(layer, arrays)?;
                self.graph.node("Gemm", &[&flat, &weight, &bias], output, vec![int("transB", 1)])
            }
            (Op::Add | Op::Gate, _) => {
                let second = self.read(layer.inputs[1]);
                self.graph.node(if layer.op == Op::Add { "Add" } else { "Mul" }, &[&x, &second], output, vec![])
            }
            (Op::MaxPool { kernel, stride, padding }, _) => {
                let attributes = vec![
                    ints("kernel_shape", &[kernel; 2]),
                    ints("strides", &[stride; 2]),
                    ints("pads", &[padding; 4]),
                ];
                self.graph.node("MaxPool", &[&x], output, attributes)
            }
            (Op::PadShortcut { stride }, _) => self.padded_shortcut(layer, &x, stride, output),
            (Op::GlobalAvgPool | Op::Conv(_) | Op::Linear { .. }, _) => {
                self.graph.node("GlobalAveragePool", &[&x], output, vec![])
            }
            (Op::Activate, _) => x,
            _ => self.of_tokens(layer, arrays, &x, output),
        })
    }

    /// The operators of a transformer.
    fn of_tokens(&mut self, layer: &LayerSpec, arrays: Option<&StoredLayer>, x: &str, output: &str) -> String {
        let features = layer.output.c;
        let second = layer.inputs.get(1).map(|&source| self.read(source));
        let graph = &mut self.graph;
        match (layer.op, arrays, second) {
            (Op::Embed, Some(own), _) => {
                let rows = graph.floats(&format!("{}.weight", layer.name), &own.weight.shape, &own.weight.grid);
                attention::embed(graph, x, &rows, features, output)
            }
            (Op::LayerNorm, Some(own), _) => {
                let gain = graph.floats(&format!("{}.weight", layer.name), &[features], &own.weight.grid);
                let offset = graph.floats(&format!("{}.bias", layer.name), &[features], &own.bias);
                attention::layer_norm(graph, x, &gain, &offset, output)
            }
            (Op::AttentionScores { heads }, _, _) => {
                let features = self.stored.network.shape(layer.inputs[0]).c / 3;
                attention::scores(graph, x, heads, features, output)
            }
            (Op::AttentionValues { heads }, _, Some(qkv)) => {
                attention::values(graph, x, &qkv, (heads, features), output)
            }
            _ => {
                let first = graph.integers(&format!("{output}_first"), &[0]);
                graph.node("Gather", &[x, &first], output, vec![int("axis", 1)])
            }
        }
    }

    fn padded_shortcut(&mut self, layer: &LayerSpec, x: &str, stride: usize, output: &str) -> String {
        let source = layer.inputs[0];
        let shapes = (self.stored.network.shape(source), layer.output);
        let integer = self.stored.network.point(source).is_some_and(|point| point.spec.format.is_integer());
        let write = if integer && self.stored.scale(source).is_some() { shortcut::copied } else { shortcut::moved };
        write(&mut self.graph, x, shapes, stride, output)
    }

    /// Adds weight and bias. An integer bias at the product of the scales lets the layer run as one integer kernel. ONNX
    /// Runtime gives every other float bias of a quantized layer that scale too, and in 2 to 4 bits it is as coarse as a
    /// product; so there the bias is an integer at a fine scale of its own, which it leaves alone.
    fn arrays(&mut self, layer: &LayerSpec, arrays: &StoredLayer) -> Result<(String, String)> {
        let (weight_name, bias_name) = (format!("{}.weight", layer.name), format!("{}.bias", layer.name));
        let (source, format) = (layer.inputs[0], arrays.weight.spec.format);
        // ONNX Runtime 1.31 fuses a Gemm of int2 weights into a kernel that does not take them.
        let narrowest =
            if matches!(layer.op, Op::Linear { .. }) { Format::Int(4) } else { self.graph.dialect.narrowest };
        let wide = (self.missing > 0 && source == Source::Input).then(|| widened::weight(&arrays.weight, self.missing));
        let weight = wide.as_ref().unwrap_or(&arrays.weight);
        let weight = quantizers::weight(&mut self.graph, &weight_name, weight, narrowest)?;
        let input = self.stored.network.point(source).map_or(Format::Float32, |point| point.spec.format);
        let steps = match self.stored.scale(source) {
            Some(scale) if takes_integer_bias(format, input) => arrays.weight.bias_steps(arrays.bias.len(), scale),
            Some(_) if format.is_integer() && input.is_integer() => {
                arrays.bias.iter().map(|bias| (bias.abs() / LARGEST_BIAS).max(f32::MIN_POSITIVE)).collect()
            }
            _ => return Ok((weight, self.graph.floats(&bias_name, &[arrays.bias.len()], &arrays.bias))),
        };
        Ok((weight, quantizers::integer_bias(&mut self.graph, &bias_name, &arrays.bias, &steps)))
    }
}
