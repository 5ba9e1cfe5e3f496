//! A correction of few channels beside a layer (LoRC: Wu et al. 2023, ZeroQuant-FP, arXiv 2307.09782): the layer's operator to
//! `rank` channels, 1x1 from there to its output, and the sum of both ways. They are layers like any other, so costs, files
//! and exports count and hold them.

use serde::{Deserialize, Serialize};

use super::{Act, Conv, LayerSpec, Network, Op, Point, Shape, Source};
use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec};

/// Layers that a correction adds behind the corrected one.
const ADDED: usize = 3;

/// A layer with a correction beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LowRank {
    /// The layer: a fully connected one or a convolution of one group, not the last.
    pub layer: String,
    /// Channels between the two parts of its correction.
    pub rank: usize,
}

impl LowRank {
    /// Names of the first part (to `rank` channels), the second part, and the sum.
    pub fn names(&self) -> [String; ADDED] {
        ["v", "u", "sum"].map(|part| format!("{}.lorc_{part}", self.layer))
    }
}

impl LayerSpec {
    /// The largest rank that a correction of this layer may have; `None` where it can have none.
    pub fn largest_rank(&self) -> Option<usize> {
        if matches!(self.op, Op::Conv(conv) if conv.groups > 1) {
            return None;
        }
        self.op.weight_shape().map(|shape| shape[0].min(shape[1..].iter().product()))
    }
}

impl Network {
    /// The same network with a correction beside a layer, whose activation and quantization point move behind the sum. What
    /// the sum reads is quantized where its result is. The new layers are in float32; the second decides all new points.
    ///
    /// # Errors
    /// No such layer, one that cannot have a correction or has one, a rank out of range.
    pub fn corrected(&self, own: &LowRank) -> Result<Self> {
        let body = &self.layers[..self.layers.len().saturating_sub(1)];
        let able = || body.iter().filter(|layer| layer.largest_rank().is_some());
        let unknown = || Error::unknown_name("low_rank", &own.layer, able().map(|layer| layer.name.as_str()));
        let layer = able().find(|layer| layer.name == own.layer).ok_or_else(unknown)?;
        let most = layer.largest_rank().unwrap_or(0);
        if !(1..=most).contains(&own.rank) {
            return Err(Error::bad_value(format!("low_rank of {}", own.layer), own.rank, format!("1 to {most}")));
        }
        if self.layers.iter().any(|layer| own.names().contains(&layer.name)) {
            return Err(Error::bad_value("low_rank", &own.layer, "has a correction already"));
        }
        let at = self.layers.iter().position(|layer| layer.name == own.layer).unwrap_or(0);
        let mut network = self.clone();
        let decided = |point: &mut Point| point.decided_by += if point.decided_by > at { ADDED } else { 0 };
        decided(&mut network.input_point);
        network.layers.iter_mut().filter_map(|layer| layer.point.as_mut()).for_each(decided);
        for source in network.layers[at + 1..].iter_mut().flat_map(|layer| &mut layer.inputs) {
            if let Source::Layer(from) = source
                && *from >= at
            {
                *from += ADDED;
            }
        }
        let layer = network.layers[at].clone();
        network.layers.splice(at..=at, with_correction(layer, at, own));
        Ok(network)
    }
}

/// The layer at index `at`, its correction's two parts, and the sum.
fn with_correction(layer: LayerSpec, at: usize, own: &LowRank) -> [LayerSpec; 1 + ADDED] {
    let [v, u, sum] = own.names();
    let spec = QuantSpec::per_tensor(Format::Float32);
    let open = Point { spec, nonnegative: false, decided_by: at + 2 };
    let point = layer.point.map(|_| open);
    let bare = LayerSpec { norm: None, bias: false, act: Act::None, point, ..layer.clone() };
    let weight = Some(QuantSpec::per_channel(Format::Float32));
    let narrow = Shape { c: own.rank, ..layer.output };
    let (first, second) = parts(layer.op, own.rank, layer.output.c);
    let part = |name, op, inputs, output, point| LayerSpec { name, op, inputs, output, point, weight, ..bare.clone() };
    [
        LayerSpec { act: Act::None, point, ..layer.clone() },
        part(v, first, layer.inputs.clone(), narrow, Some(open)),
        part(u, second, vec![Source::Layer(at + 1)], layer.output, point),
        LayerSpec {
            name: sum,
            op: Op::Add,
            inputs: vec![Source::Layer(at), Source::Layer(at + 2)],
            weight: None,
            act: layer.act,
            point: layer.point,
            ..bare
        },
    ]
}

fn parts(op: Op, rank: usize, c_out: usize) -> (Op, Op) {
    match op {
        Op::Conv(conv) => {
            let second = Conv { c_in: rank, c_out, kernel: 1, stride: 1, padding: 0, extra_end: 0, groups: 1 };
            (Op::Conv(Conv { c_out: rank, ..conv }), Op::Conv(second))
        }
        Op::Linear { c_in, .. } => (Op::Linear { c_in, c_out: rank }, Op::Linear { c_in: rank, c_out }),
        other => (other, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    fn spec(model: &str, layers: &[(&str, usize)]) -> ModelSpec {
        let low_rank = layers.iter().map(|&(layer, rank)| LowRank { layer: layer.to_owned(), rank }).collect();
        ModelSpec { low_rank, ..ModelSpec::new(model.parse().unwrap()) }
    }

    #[test]
    fn corrected_networks_are_sound_and_other_points_stay() {
        for model in ["resnet8", "resnet18", "mobilenet_v2", "vit_tiny", "efficientnet_lite0"] {
            let plain = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
            let last = plain.layers.len() - 1;
            let able: Vec<&LayerSpec> =
                plain.layers[..last].iter().filter(|layer| layer.largest_rank().is_some()).collect();
            let all: Vec<(&str, usize)> = able.iter().map(|layer| (layer.name.as_str(), 2)).collect();
            let network = build(&spec(model, &all)).unwrap();
            network.validate().unwrap();
            assert_eq!(network.layers.len(), plain.layers.len() + 3 * all.len());
            // A tensor that was a point is one, decided by the same layer; it may be a sum now.
            let decided = |network: &Network, name: &str| {
                let layer = network.layers.iter().find(|layer| layer.name == name)?;
                let point = layer.point.as_ref()?;
                Some((network.layers[point.decided_by].name.clone(), point.nonnegative, layer.act))
            };
            for layer in &plain.layers {
                let sum = format!("{}.lorc_sum", layer.name);
                let now = if all.iter().any(|(name, _)| *name == layer.name) { &sum } else { &layer.name };
                assert_eq!(decided(&plain, &layer.name), decided(&network, now), "{model} {}", layer.name);
            }
            let (_, activations) = network.assigned();
            assert_eq!(activations.len(), network.weighted().len());
        }
    }

    #[test]
    fn the_sum_is_an_add_of_two_points_of_one_format() {
        let mut network = build(&spec("resnet8", &[("layer1.0.conv1", 4)])).unwrap();
        let count = network.weighted().len();
        let names: Vec<String> = network.weighted().iter().map(|&index| network.layers[index].name.clone()).collect();
        let int = |bits| QuantSpec::per_tensor(Format::Int(bits));
        let second = names.iter().position(|name| name.ends_with("lorc_u")).unwrap();
        let mut activations = vec![int(4); count];
        activations[second] = int(8);
        network.assign(&vec![QuantSpec::per_channel(Format::Int(4)); count], &activations);
        assert_eq!(network.assigned().1, activations);
        let format = |name: &str| {
            let layer = network.layers.iter().find(|layer| layer.name == name).unwrap();
            layer.point.as_ref().unwrap().spec.format
        };
        let parts = ["", ".lorc_v", ".lorc_u"].map(|part| format(&format!("layer1.0.conv1{part}")));
        assert_eq!(parts, [Format::Int(8); 3]);
        assert_eq!(format("layer1.0.conv1.lorc_sum"), Format::Uint(4));
    }

    #[test]
    fn what_cannot_be_corrected_is_refused() {
        let refused = |model: &str, layers: &[(&str, usize)]| build(&spec(model, layers)).unwrap_err().to_string();
        assert!(refused("resnet8", &[("layer1.0.cnv1", 2)]).contains("did you mean `layer1.0.conv1`"));
        assert!(refused("resnet8", &[("linear", 2)]).contains("linear"));
        assert!(refused("resnet8", &[("conv1", 17)]).contains("1 to 16"));
        assert!(refused("resnet8", &[("conv1", 0)]).contains("1 to 16"));
        assert!(refused("resnet8", &[("conv1", 2), ("conv1", 2)]).contains("already"));
        assert!(refused("mobilenet_v2", &[("features.2.conv.1.0", 2)]).contains("low_rank"));
    }
}
