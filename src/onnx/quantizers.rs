//! Quantized weights and quantization points as ONNX nodes.
//!
//! A file runs with ONNX Runtime's default options: integers as QuantizeLinear and DequantizeLinear, which it fuses into
//! integer kernels; floats of 8 and 16 bits as Div, Cast, Cast, Mul, since one QuantizeLinear to FP8 makes a mixed file
//! fail; what ONNX has no type for is imitated exactly in float32.

use super::element::{Element, INT8, INT32, UINT8};
use super::graph::{FLOAT, Graph, int};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::MiniFloat;
use crate::formats::ScaleKind;
use crate::network::Point;
use crate::stored::StoredWeight;

/// Adds a layer's weights; returns the name of the float32 tensor that the operator reads. Integers are stored in
/// the smallest type that holds both their format and `narrowest`.
///
/// # Errors
/// Scales finer than one a channel, which the operators' fused kernels do not take.
pub(super) fn weight(graph: &mut Graph, name: &str, weight: &StoredWeight, narrowest: Format) -> Result<String> {
    let (shape, format) = (&weight.shape, weight.spec.format);
    if !matches!(weight.spec.granularity, Granularity::Tensor | Granularity::Channel) {
        return Err(Error::bad_value(
            name,
            weight.spec,
            "exporting to ONNX takes one weight scale a tensor or a channel",
        ));
    }
    if format == Format::Float32 {
        return Ok(graph.floats(name, shape, &weight.grid));
    }
    let stored = format!("{name}_q");
    let codes: Vec<u32> = weight.grid.iter().map(|&value| format.encode(value)).collect();
    let per_channel = weight.scales.runs.len() > 1;
    let scales: Vec<f32> = weight.scales.runs.iter().map(|scale| scale * weight.scales.tensor).collect();
    let wide_enough = if format.bits() < narrowest.bits() { narrowest } else { format };
    if let Some(element) = Element::of_integer(wide_enough).filter(|_| format.is_integer()) {
        let dims: &[usize] = if per_channel { &[scales.len()] } else { &[] };
        let unsigned = graph.dialect.unsigned_weights && element == INT8;
        let (element, zero) = if unsigned { (UINT8, 128) } else { (element, 0) };
        let codes: Vec<u32> = weight.grid.iter().map(|&value| (value as i32 + zero) as u32).collect();
        let stored = graph.codes(&stored, shape, element, &codes);
        let scale = graph.floats(&format!("{name}_scale"), dims, &scales);
        let zero = graph.codes(&format!("{name}_zero_point"), dims, element, &vec![zero as u32; scales.len()]);
        let axis = if per_channel { vec![int("axis", 0)] } else { vec![] };
        return Ok(graph.node("DequantizeLinear", &[&stored, &scale, &zero], name, axis));
    }
    if let Some(element) = Element::of_float8(format).filter(|_| graph.dialect.quantize_to_fp8) {
        let dims: &[usize] = if per_channel { &[scales.len()] } else { &[] };
        let stored = graph.codes(&stored, shape, element, &codes);
        let scale = graph.floats(&format!("{name}_scale"), dims, &scales);
        let axis = if per_channel { vec![int("axis", 0)] } else { vec![] };
        return Ok(graph.node("DequantizeLinear", &[&stored, &scale], name, axis));
    }
    let unscaled = format!("{name}_unscaled");
    let unscaled = if let Some(element) = Element::of_float(format) {
        let stored = graph.codes(&stored, shape, element, &codes);
        graph.node("Cast", &[&stored], &unscaled, vec![int("to", FLOAT.into())])
    } else {
        graph.simulated = true;
        let values: Vec<f32> = (0..1_u32 << format.bits()).map(|code| format.decode(code) as f32).collect();
        let table = graph.floats(&format!("{name}_values"), &[values.len()], &values);
        let stored = graph.codes(&stored, shape, UINT8, &codes);
        let index = graph.node("Cast", &[&stored], &format!("{name}_index"), vec![int("to", INT32.code.into())]);
        graph.node("Gather", &[&table, &index], &unscaled, vec![int("axis", 0)])
    };
    if !format.takes_scale() {
        return Ok(graph.node("Identity", &[&unscaled], name, vec![]));
    }
    let mut dims = vec![1; if per_channel { shape.len() } else { 0 }];
    if let Some(first) = dims.first_mut() {
        *first = scales.len();
    }
    let scale = graph.floats(&format!("{name}_scale"), &dims, &scales);
    Ok(graph.node("Mul", &[&unscaled, &scale], name, vec![]))
}

/// Adds a bias of 32-bit integers at `scales`, which are the input's scale times the weights' ones.
pub(super) fn integer_bias(graph: &mut Graph, name: &str, bias: &[f32], scales: &[f32]) -> String {
    let codes: Vec<u32> = bias.iter().zip(scales).map(|(b, s)| (b / s).round_ties_even() as i32 as u32).collect();
    let stored = graph.codes(&format!("{name}_q"), &[bias.len()], INT32, &codes);
    let scale = graph.floats(&format!("{name}_scale"), &[bias.len()], scales);
    graph.node("DequantizeLinear", &[&stored, &scale], name, vec![int("axis", 0)])
}

/// Adds a quantization point behind tensor `x`, whose nodes are named after `name`; returns the dequantized tensor.
pub(super) fn point(graph: &mut Graph, x: &str, name: &str, point: &Point, scale: f32) -> String {
    let format = point.spec.format;
    let part = |leaf: &str| format!("{name}_{leaf}");
    let out = part("dequantized");
    if let Some((element, zero)) = Element::of_activation(format, graph.dialect.signed_activations) {
        let mut x = x.to_owned();
        if element.bits != format.bits() {
            graph.simulated = true;
            let low = graph.floats(&part("low"), &[], &[format.min() as f32 * scale]);
            let high = graph.floats(&part("high"), &[], &[format.max() as f32 * scale]);
            x = graph.node("Clip", &[&x, &low, &high], &part("clipped"), vec![]);
        }
        let scale = graph.floats(&part("scale"), &[], &[scale]);
        let zero = graph.codes(&part("zero_point"), &[], element, &[zero.into()]);
        let quantized = graph.node("QuantizeLinear", &[&x, &scale, &zero], &part("quantized"), vec![]);
        return graph.node("DequantizeLinear", &[&quantized, &scale, &zero], &out, vec![]);
    }
    let mut x = if point.nonnegative { graph.node("Relu", &[x], &part("relu"), vec![]) } else { x.to_owned() };
    let scale = format.takes_scale().then(|| graph.floats(&part("scale"), &[], &[scale]));
    if let (Some(element), Some(scale)) = (Element::of_float8(format).filter(|_| graph.dialect.quantize_to_fp8), &scale)
    {
        let zero = graph.codes(&part("zero_point"), &[], element, &[0]);
        let quantized = graph.node("QuantizeLinear", &[&x, scale, &zero], &part("quantized"), vec![]);
        return graph.node("DequantizeLinear", &[&quantized, scale, &zero], &out, vec![]);
    }
    if let Some(scale) = &scale {
        x = graph.node("Div", &[&x, scale], &part("scaled"), vec![]);
    }
    let x = on_grid(graph, &x, name, format);
    match scale {
        Some(scale) => graph.node("Mul", &[&x, &scale], &out, vec![]),
        None => graph.node("Identity", &[&x], &out, vec![]),
    }
}

/// Adds a quantization point that gives every token the scale of its own largest magnitude.
///
/// # Errors
/// Scales that are no plain float32.
pub(super) fn by_token(graph: &mut Graph, x: &str, name: &str, point: &Point) -> Result<String> {
    let format = point.spec.format;
    if !format.takes_scale() {
        return Ok(if format == Format::Float32 { x.to_owned() } else { on_grid(graph, x, name, format) });
    }
    if point.spec.scale != ScaleKind::Float32 {
        return Err(Error::bad_value(name, point.spec, "exporting to ONNX takes float32 scales for tokens"));
    }
    // The largest magnitude along an axis that is an input came with opset 18.
    graph.need(18);
    graph.simulated = true;
    let part = |leaf: &str| format!("{name}_{leaf}");
    let axis = graph.integers(&part("features"), &[-1]);
    let magnitudes = graph.node("Abs", &[x], &part("magnitudes"), vec![]);
    let top = graph.node("ReduceMax", &[&magnitudes, &axis], &part("top"), vec![int("keepdims", 1)]);
    let largest = graph.floats(&part("largest"), &[], &[format.max() as f32]);
    let scale = graph.node("Div", &[&top, &largest], &part("unbounded_scale"), vec![]);
    let tiny = graph.floats(&part("tiny"), &[], &[f32::MIN_POSITIVE]);
    let scale = graph.node("Max", &[&scale, &tiny], &part("scale"), vec![]);
    let scaled = graph.node("Div", &[x, &scale], &part("scaled"), vec![]);
    let rounded = on_grid(graph, &scaled, name, format);
    Ok(graph.node("Mul", &[&rounded, &scale], &part("dequantized"), vec![]))
}

/// Rounds values that are divided by their scale to a format's grid.
fn on_grid(graph: &mut Graph, x: &str, name: &str, format: Format) -> String {
    let part = |leaf: &str| format!("{name}_{leaf}");
    let low = graph.floats(&part("low"), &[], &[format.min() as f32]);
    let high = graph.floats(&part("high"), &[], &[format.max() as f32]);
    let x = graph.node("Clip", &[x, &low, &high], &part("clipped"), vec![]);
    match (Element::of_float(format), format) {
        (Some(element), _) => {
            graph.need(element.opset);
            let narrow = graph.node("Cast", &[&x], &part("narrow"), vec![int("to", element.code.into())]);
            graph.node("Cast", &[&narrow], &part("rounded"), vec![int("to", FLOAT.into())])
        }
        (None, Format::Mini(mini)) => {
            graph.simulated = true;
            rounded(graph, &x, name, mini)
        }
        (None, Format::Int(_) | Format::Uint(_)) => graph.node("Round", &[&x], &part("rounded"), vec![]),
        (None, _) => x,
    }
}

/// Rounds values within the range of a small float to its grid, half to even: `Round(x / step) * step`, with the step
/// of the binade that |x| lies in. Steps are powers of two, so every operation is exact.
fn rounded(graph: &mut Graph, x: &str, name: &str, mini: MiniFloat) -> String {
    let part = |leaf: &str| format!("{name}_{leaf}");
    let power = |exponent: i32| 2_f32.powi(exponent);
    let magnitude = graph.node("Abs", &[x], &part("magnitude"), vec![]);
    let (lowest, mantissa) = (1 - i32::from(mini.bias), i32::from(mini.mantissa));
    let mut step = graph.floats(&part("step"), &[], &[power(lowest - mantissa)]);
    for exponent in (lowest + 1..).take_while(|&exponent| f64::from(power(exponent)) <= mini.max()) {
        let leaf = |what: &str| part(&format!("{what}_{}", exponent - lowest));
        let from = graph.floats(&leaf("from"), &[], &[power(exponent)]);
        let wider = graph.floats(&leaf("wider"), &[], &[power(exponent - mantissa)]);
        let above = graph.node("GreaterOrEqual", &[&magnitude, &from], &leaf("above"), vec![]);
        step = graph.node("Where", &[&above, &wider, &step], &leaf("step"), vec![]);
    }
    let steps = graph.node("Div", &[x, &step], &part("steps"), vec![]);
    let whole = graph.node("Round", &[&steps], &part("whole"), vec![]);
    graph.node("Mul", &[&whole, &step], &part("rounded"), vec![])
}
