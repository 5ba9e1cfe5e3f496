//! A network filled with random numbers: for timing, which does not depend on them.

use rand_distr::{Distribution, Normal};

use super::{StoredLayer, StoredNetwork, StoredWeight};
use crate::network::{LayerSpec, Network, Point};
use crate::seed::Seed;

/// The magnitude that quantization points reach.
const REACH: f64 = 6.0;

impl StoredNetwork {
    /// Random weights of the usual magnitude (He et al. 2015) and scales that make every quantization point reach 6.
    pub fn filled(network: &Network, seed: Seed) -> Self {
        let scale = |point: &Point| {
            point.has_scale().then_some(point).filter(|point| point.spec.format.takes_scale())?;
            Some((REACH / point.spec.format.max()) as f32)
        };
        let mut stored = Self {
            input_scale: scale(&network.input_point),
            scales: network.layers.iter().map(|layer| layer.point.as_ref().and_then(scale)).collect(),
            layers: vec![None; network.layers.len()],
            network: network.clone(),
        };
        for (index, layer) in network.layers.iter().enumerate() {
            stored.layers[index] = filled(layer, seed.at(index as u64));
        }
        stored.round_biases();
        stored
    }
}

fn filled(layer: &LayerSpec, seed: Seed) -> Option<StoredLayer> {
    let (shape, spec) = layer.stored_weight()?;
    let count: usize = shape.iter().product();
    let fan_in = count / shape[0].max(1);
    let mut rng = seed.rng();
    let deviation = if layer.weight.is_some() { (2.0 / fan_in.max(1) as f32).sqrt() } else { 1.0 };
    let normal = Normal::new(0.0, deviation).ok()?;
    let weights: Vec<f32> = normal.sample_iter(&mut rng).take(count).collect();
    let weight = StoredWeight::quantize(weights, &shape, None, spec);
    Some(StoredLayer { weight, bias: vec![0.01; layer.output.c] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Format;
    use crate::formats::QuantSpec;
    use crate::network::{ModelSpec, build};

    #[test]
    fn every_layer_is_filled_and_the_same_seed_gives_the_same() {
        for model in ["resnet8", "mobilenet_v2", "vit_tiny"] {
            let mut network = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
            let layers = network.weighted().len();
            let int8 = Format::Int(8);
            network.assign(&vec![QuantSpec::per_channel(int8); layers], &vec![QuantSpec::per_tensor(int8); layers]);
            let filled = StoredNetwork::filled(&network, Seed::new(1));
            for (layer, own) in network.layers.iter().zip(&filled.layers) {
                assert_eq!(layer.stored_weight().is_some(), own.is_some(), "{}", layer.name);
            }
            assert!(filled.input_scale.is_some());
            assert_eq!(filled, StoredNetwork::filled(&network, Seed::new(1)));
        }
    }
}
