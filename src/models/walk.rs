//! Running some consecutive layers of a network, with operators and quantizers of the caller's.

use std::ops::Range;

use tch::Tensor;

use crate::layers;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Source;

/// What a walk does at each layer.
pub trait Step {
    /// The layer's operator on its inputs, without activation.
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor;

    /// The quantizer on the layer's result, which is also the ReLU of a tensor without negative values; called where the
    /// layer has a quantization point.
    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor;
}

/// Runs `layers`; `input` is what they read from outside: the image, or the result of the layer before the first.
/// Tensors are dropped behind their last reader.
pub fn walk(network: &Network, layers: Range<usize>, input: Tensor, step: &mut impl Step) -> Tensor {
    let (first, count) = (layers.start, layers.len());
    let mut last_use = vec![0; count];
    for index in layers.clone() {
        for source in &network.layers[index].inputs {
            if let Source::Layer(from) = source
                && *from >= first
            {
                last_use[*from - first] = index;
            }
        }
    }
    let mut outputs: Vec<Tensor> = Vec::with_capacity(count);
    for index in layers {
        let layer = &network.layers[index];
        let y = {
            let read = |source: Source| match source {
                Source::Layer(from) if from >= first => &outputs[from - first],
                Source::Layer(_) | Source::Input => &input,
            };
            step.operate(index, layer, read(layer.inputs[0]), layer.inputs.get(1).map(|&source| read(source)))
        };
        outputs.push(match &layer.point {
            Some(_) => step.quantize(index, layers::activate_before_quantizer(y, layer.act)),
            None => layers::activate(&y, layer.act),
        });
        for (from, &last) in last_use.iter().enumerate().take(index - first) {
            if last == index {
                outputs[from] = Tensor::new();
            }
        }
    }
    outputs.pop().unwrap_or_default()
}

/// A layer's operator; `parameters` are its weight and bias where it has some, batch norm folded in.
pub fn operate(
    layer: &LayerSpec,
    x: &Tensor,
    second: Option<&Tensor>,
    parameters: Option<(&Tensor, &Tensor)>,
) -> Tensor {
    match (layer.op, parameters, second) {
        (Op::Conv(conv), Some((weight, bias)), _) => layers::convolution(x, weight, Some(bias), conv),
        (Op::Linear { .. }, Some((weight, bias)), _) => layers::linear(x, weight, Some(bias)),
        (Op::Add, _, Some(shortcut)) => x + shortcut,
        (Op::Gate, _, Some(gate)) => x * gate,
        (Op::AttentionValues { heads }, _, Some(qkv)) => layers::attention_values(x, qkv, heads),
        (Op::Embed, Some((positions, class)), _) => layers::embed(x, &class.narrow(0, 0, 1), positions),
        (Op::LayerNorm, Some((gain, offset)), _) => layers::layer_norm(x, &gain.flatten(0, -1), Some(offset)),
        (op, _, _) => layers::without_weights(x, op, layer.output),
    }
}

/// The layers in runs between which one tensor alone passes: residual blocks, and single layers outside of them. Layers
/// without weights stand with those behind them, at the end with those in front.
pub fn blocks(network: &Network) -> Vec<Range<usize>> {
    let count = network.layers.len();
    // The earliest tensor that any layer from here on reads.
    let mut earliest = vec![count; count + 1];
    for index in (0..count).rev() {
        let reads = network.layers[index].inputs.iter().map(|source| match source {
            Source::Input => 0,
            Source::Layer(from) => from + 1,
        });
        earliest[index] = reads.fold(earliest[index + 1], usize::min);
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for (end, &reads) in earliest.iter().enumerate().skip(1) {
        let is_cut = end == count || reads >= end;
        let has_weights = network.layers[start..end].iter().any(|layer| layer.weight.is_some());
        if is_cut && has_weights {
            found.push(start..end);
            start = end;
        }
    }
    if let Some(last) = found.last_mut() {
        last.end = count;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    fn names(model: &str) -> Vec<String> {
        let network = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
        blocks(&network).into_iter().map(|range| network.layers[range.end - 1].name.clone()).collect()
    }

    #[test]
    fn one_tensor_passes_between_blocks() {
        assert_eq!(names("resnet8"), ["conv1", "layer1.0.add", "layer2.0.add", "layer3.0.add", "linear"]);
        assert_eq!(names("resnet20").len(), 11);
        // Embedding, two residual blocks in each of twelve, the head.
        let vit = names("vit_tiny");
        assert_eq!(vit.len(), 26, "{vit:?}");
    }
}
