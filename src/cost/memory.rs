//! Activation memory: the largest sum of live tensors while the network runs.

use crate::network::Network;
use crate::network::Source;

/// Bytes of one tensor, packed at the bits of its quantizer; 32 bits an element without one.
fn tensor_bytes(network: &Network, tensor: Source) -> u64 {
    let bits = network.point(tensor).map_or(32, |point| point.spec.format.bits());
    (network.shape(tensor).elements() as u64 * u64::from(bits)).div_ceil(8)
}

/// Peak bytes of activations at batch 1: layers run in order, a layer's inputs and result exist at once, and a tensor
/// lives from its making to its last reader (so a skip lives through its block). The input image counts.
pub fn activation_bytes(network: &Network) -> u64 {
    live_bytes(network).into_iter().max().unwrap_or(0)
}

/// Bytes of the tensors that live while each layer runs.
pub(super) fn live_bytes(network: &Network) -> Vec<u64> {
    let tensors = std::iter::once(Source::Input).chain((0..network.layers.len()).map(Source::Layer));
    let mut live = vec![0_u64; network.layers.len()];
    for tensor in tensors {
        let made = match tensor {
            Source::Input => 0,
            Source::Layer(index) => index,
        };
        let last = network.layers.iter().rposition(|layer| layer.inputs.contains(&tensor)).unwrap_or(made);
        let bytes = tensor_bytes(network, tensor);
        live[made..=last.max(made)].iter_mut().for_each(|sum| *sum += bytes);
    }
    live
}
