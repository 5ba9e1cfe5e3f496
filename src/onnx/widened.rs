//! Images with as many channels as ONNX Runtime's packed integer convolution takes.
//!
//! Its fast kernels read four input channels at once and make sixteen output channels at once; a first convolution on 1 or 3
//! channels falls back to a slower one. Channels of zeros, with weights of zero, change no result.

use super::graph::Graph;
use crate::network::Op;
use crate::network::Source;
use crate::stored::{StoredNetwork, StoredWeight, takes_integer_bias};

/// Input and output channels of which the packed kernels take multiples.
const PACKED: (usize, usize) = (4, 16);

/// Channels of zeros to add to the images: none unless every reader of theirs then has a packed kernel.
pub(super) fn missing_channels(stored: &StoredNetwork) -> usize {
    let network = &stored.network;
    let packed = |index: usize| {
        let (layer, arrays) = (&network.layers[index], stored.layers[index].as_ref());
        let integer = arrays
            .is_some_and(|own| takes_integer_bias(own.weight.spec.format, network.input_point.spec.format))
            && stored.input_scale.is_some();
        integer && matches!(layer.op, Op::Conv(conv) if conv.groups == 1) && layer.output.c % PACKED.1 == 0
    };
    let mut readers = (0..network.layers.len()).filter(|&index| network.layers[index].inputs.contains(&Source::Input));
    if readers.all(packed) { network.input.c.next_multiple_of(PACKED.0) - network.input.c } else { 0 }
}

/// Adds channels of zeros behind those of `[N, c, h, w]`; returns the wider tensor.
pub(super) fn images(graph: &mut Graph, x: &str, missing: usize) -> String {
    let pads = graph.integers(&format!("{x}_pads"), &[0, 0, 0, 0, 0, missing as i64, 0, 0]);
    graph.node("Pad", &[x, &pads], &format!("{x}_widened"), vec![])
}

/// Weights `[c_out, c_in, k, k]` with as many more input channels of zeros.
pub(super) fn weight(narrow: &StoredWeight, missing: usize) -> StoredWeight {
    let mut shape = narrow.shape.clone();
    shape[1] += missing;
    let filter: usize = narrow.shape[1..].iter().product();
    let zeros = vec![0.0; missing * narrow.shape[2..].iter().product::<usize>()];
    let grid = narrow.grid.chunks(filter).flat_map(|own| own.iter().chain(&zeros).copied()).collect();
    StoredWeight { shape, grid, ..narrow.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Format, QuantSpec, Scales};
    use crate::network::{ModelSpec, build};
    use crate::seed::Seed;

    fn missing(model: &str, channels: usize, width: f64, format: Format) -> usize {
        let spec = ModelSpec { channels: Some(channels), width, ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let layers = network.weighted().len();
        network.assign(&vec![QuantSpec::per_channel(format); layers], &vec![QuantSpec::per_tensor(format); layers]);
        missing_channels(&StoredNetwork::filled(&network, Seed::new(0)))
    }

    #[test]
    fn channels_are_added_only_for_a_packed_kernel() {
        let int8 = Format::Int(8);
        assert_eq!([1, 3, 4, 5].map(|channels| missing("resnet20", channels, 1.0, int8)), [3, 1, 0, 3]);
        assert_eq!(missing("resnet20", 3, 1.5, int8), 0, "24 output channels are no multiple of 16");
        for format in ["int4", "fp8", "float32"] {
            assert_eq!(missing("resnet20", 3, 1.0, format.parse().unwrap()), 0, "{format}");
        }
    }

    #[test]
    fn each_filter_gets_zeros_behind_its_channels() {
        let narrow = StoredWeight {
            spec: QuantSpec::per_tensor(Format::Int(8)),
            shape: vec![2, 1, 1, 2],
            grid: vec![1.0, 2.0, 3.0, 4.0],
            scales: Scales { runs: vec![0.5], tensor: 1.0 },
        };
        let wide = weight(&narrow, 2);
        assert_eq!(wide.shape, [2, 3, 1, 2]);
        assert_eq!(wide.grid, [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((wide.spec, wide.scales), (narrow.spec, narrow.scales));
    }
}
