//! From a network to the kernels that a device runs for it.

use super::{Device, Kernel, KernelOp};
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::{LayerSpec, Network, Op, Point, Source};

/// What a device runs for a network, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// A layer's kernel; the layer's index.
    Layer(usize, Kernel),
    /// A tensor's way between formats.
    Transition(Kernel),
}

/// The network that a device computes: formats without kernels replaced by what they fall back to. A token's own scale has
/// no integer kernel, so where each token has one, tensor and weights are float32.
pub fn as_computed(network: &Network, device: &Device) -> Network {
    let mut computed = network.clone();
    let replaced = |point: &mut Point| point.spec.format = of_point(point, device);
    replaced(&mut computed.input_point);
    computed.layers.iter_mut().filter_map(|layer| layer.point.as_mut()).for_each(replaced);
    for index in computed.weighted() {
        computed.layers[index].weight = Some(QuantSpec::per_channel(of_weights(network, index, device)));
    }
    computed
}

/// The format that a device computes a point's tensor in; the unsigned integer of a width for the signed one.
fn of_point(point: &Point, device: &Device) -> Format {
    match device.computed(point.spec.format) {
        _ if point.is_by_token() => Format::Float32,
        format if point.nonnegative => format.for_nonnegative(),
        format => format,
    }
}

/// The format that a device computes a layer's weights in: float32 where the input is.
fn of_weights(network: &Network, index: usize, device: &Device) -> Format {
    let layer = &network.layers[index];
    match network.point(layer.inputs[0]).map_or(Format::Float32, |point| of_point(point, device)) {
        Format::Float32 => Format::Float32,
        _ => device.computed(layer.weight.map_or(Format::Float32, |spec| spec.format)),
    }
}

/// Tells `found` what the device runs for a network.
///
/// A layer runs in a narrow format when its weights, its inputs and its result are in it; the last layer's result needs not be. A
/// convolution that lacks only the result's is a kernel of its own. Every other layer runs in float32, and what it reads and gives
/// in another format goes there and back. Attention is one kernel, with the way of its queries, keys, values and scores.
pub fn walk(network: &Network, device: &Device, mut found: impl FnMut(Way)) {
    let tensor = |source: Source| {
        let format = network.point(source).map_or(Format::Float32, |point| of_point(point, device));
        signed(format)
    };
    if tensor(Source::Input) != Format::Float32 {
        found(Way::Transition(Kernel::transition(network.input, Format::Float32, tensor(Source::Input))));
    }
    for (index, layer) in network.layers.iter().enumerate() {
        if matches!(layer.op, Op::AttentionValues { .. }) {
            continue;
        }
        let weights = layer.weight.map(|_| of_weights(network, index, device));
        let result = tensor(Source::Layer(index));
        let format = layer_format(layer, weights, result, &tensor);
        let input = network.shape(layer.inputs[0]);
        let first = tensor(layer.inputs[0]);
        if let (Op::Conv(_), Format::Float32, Some(narrow)) = (layer.op, result, weights.filter(|own| *own == first))
            && narrow != Format::Float32
        {
            let op = KernelOp::ConvDequantized;
            found(Way::Layer(index, Kernel { op, ..Kernel::of_layer(layer, input, narrow) }));
            continue;
        }
        found(Way::Layer(index, Kernel::of_layer(layer, input, format)));
        if format != Format::Float32 {
            continue;
        }
        for &source in &layer.inputs {
            let from = tensor(source);
            if from != Format::Float32 {
                found(Way::Transition(Kernel::transition(network.shape(source), from, Format::Float32)));
            }
        }
        if result != Format::Float32 && !repeats(layer.op) && !layer.output.is_tokens() {
            found(Way::Transition(Kernel::transition(layer.output, Format::Float32, result)));
        }
    }
}

/// Whether an operator repeats its input's scale, so that it runs in its input's format.
fn repeats(op: Op) -> bool {
    matches!(op, Op::MaxPool { .. } | Op::PadShortcut { .. })
}

/// The format that all of a layer is in, or float32.
fn layer_format(
    layer: &LayerSpec,
    weights: Option<Format>,
    result: Format,
    tensor: &impl Fn(Source) -> Format,
) -> Format {
    let first = tensor(layer.inputs[0]);
    let inputs = layer.inputs.iter().all(|&source| tensor(source) == first);
    let ends = matches!(layer.op, Op::Linear { .. });
    let agrees = inputs && weights.is_none_or(|format| format == first) && (ends || result == first);
    if agrees { first } else { Format::Float32 }
}

/// The signed integer of an unsigned one's width: tables do not tell them apart.
fn signed(format: Format) -> Format {
    match format {
        Format::Uint(bits) => Format::Int(bits),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    fn ways(model: &str, format: impl Fn(usize) -> Format) -> Vec<Way> {
        let mut network = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
        let count = network.weighted().len();
        let weights: Vec<_> = (0..count).map(|rank| QuantSpec::per_channel(format(rank))).collect();
        let activations: Vec<_> = (0..count).map(|rank| QuantSpec::per_tensor(format(rank))).collect();
        network.assign(&weights, &activations);
        let mut all = Vec::new();
        walk(&network, &Device::cpu_of_tests(), |way| all.push(way));
        all
    }

    fn transitions(ways: &[Way]) -> usize {
        ways.iter().filter(|way| !matches!(way, Way::Layer(..))).count()
    }

    #[test]
    fn one_format_has_one_way_in_and_float_has_none() {
        let float = ways("resnet8", |_| Format::Float32);
        assert_eq!(transitions(&float), 0);
        let int8 = ways("resnet8", |_| Format::Int(8));
        assert_eq!(transitions(&int8), 1);
        assert_eq!(int8.len(), float.len() + 1);
        let narrow = |way: &&Way| matches!(way, Way::Layer(_, kernel) if kernel.a_format == Format::Int(8));
        assert_eq!(int8.iter().filter(narrow).count(), int8.len() - 1);
    }

    #[test]
    fn formats_without_kernels_cost_what_they_fall_back_to() {
        assert_eq!(ways("resnet8", |_| Format::Int(4)), ways("resnet8", |_| Format::Int(8)));
        assert_eq!(ways("resnet8", |_| "fp8".parse().unwrap()), ways("resnet8", |_| Format::Float32));
    }

    #[test]
    fn a_float_layer_among_integers_pays_for_the_way_there_and_back() {
        // The second convolution of the first block is float32: the first gives float, the sum's points stay int8.
        let mixed = ways("resnet8", |rank| if rank == 2 { Format::Float32 } else { Format::Int(8) });
        let count = |what: fn(&Kernel) -> bool| {
            mixed.iter().filter(|way| matches!(way, Way::Transition(kernel) if what(kernel))).count()
        };
        // The image, and the branch's result before the sum.
        assert_eq!(count(|kernel| kernel.w_format == Format::Int(8)), 2);
        assert_eq!(count(|kernel| kernel.w_format == Format::Float32), 0);
        // The first convolution has narrow weights and input and a float32 result.
        let dequantized = |way: &&Way| matches!(way, Way::Layer(_, kernel) if kernel.op == KernelOp::ConvDequantized);
        assert_eq!(mixed.iter().filter(dequantized).count(), 1);
    }

    #[test]
    fn tokens_with_scales_of_their_own_are_float32() {
        let int8 = ways("vit_tiny", |_| Format::Int(8));
        let linear = |way: &&Way| matches!(way, Way::Layer(_, kernel) if kernel.op == KernelOp::Linear);
        assert!(int8.iter().filter(linear).all(|way| matches!(way, Way::Layer(_, k) if k.w_format == Format::Float32)));
    }

    #[test]
    fn the_computed_network_has_the_same_ways() {
        let device = Device::cpu_of_tests();
        for model in ["resnet8", "mobilenet_v2", "vit_tiny"] {
            let mut network = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
            let count = network.weighted().len();
            let format = |rank: usize| [Format::Int(4), Format::Float32, Format::Int(8)][rank % 3];
            let weights: Vec<_> = (0..count).map(|rank| QuantSpec::per_channel(format(rank))).collect();
            let activations: Vec<_> = (0..count).map(|rank| QuantSpec::per_tensor(format(rank))).collect();
            network.assign(&weights, &activations);
            let all = |network: &Network| {
                let mut all = Vec::new();
                walk(network, &device, |way| all.push(way));
                all
            };
            assert_eq!(all(&as_computed(&network, &device)), all(&network), "{model}");
        }
    }
}
