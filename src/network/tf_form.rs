//! The TensorFlow form of ResNet-18 and -34: a projection in the first block of stage 1 too.
//!
//! FLIQS counts its networks in this form (1.827 instead of 1.814 GMACs for ResNet-18).

use crate::formats::Format;
use crate::formats::QuantSpec;

use super::{Act, Conv, LayerSpec, ModelName, Network, Op, Point, Shape, Source, TORCH_EPSILON};

/// The first block's add, and the layers that decide its formats.
const ADD: &str = "layer1.0.add";
const FIRST: &str = "layer1.0.conv1";

impl Network {
    /// The same network with a projection in the first block of stage 1, in the formats of that block's first
    /// convolution; `None` when the network has one already or is not of the family (small networks have no such form).
    pub fn in_tf_form(&self) -> Option<Self> {
        let family = matches!(self.model.parse(), Ok(ModelName::Resnet { .. }));
        let place = |name: &str| self.layers.iter().position(|layer| layer.name == name);
        let (add, first) = (place(ADD).filter(|_| family)?, place(FIRST)?);
        let [branch, shortcut] = self.layers[add].inputs[..] else { return None };
        if let Source::Layer(index) = shortcut
            && matches!(self.layers[index].op, Op::Conv(_))
        {
            return None;
        }
        let mut network = self.clone();
        network.insert_gap(add);
        let point = self.point(branch).map(|point| shifted(*point, add));
        let weight = self.layers[first].weight.unwrap_or(QuantSpec::per_channel(Format::Float32));
        network.layers.insert(add, projection(shortcut, self.shape(shortcut), weight, point));
        network.layers[add + 1].inputs[1] = Source::Layer(add);
        Some(network)
    }

    /// Renumbers everything from index `at` on, so that a layer can be inserted there.
    fn insert_gap(&mut self, at: usize) {
        self.input_point = shifted(self.input_point, at);
        for layer in &mut self.layers {
            layer.point = layer.point.map(|point| shifted(point, at));
            for source in &mut layer.inputs {
                if let Source::Layer(index) = source {
                    *index += usize::from(*index >= at);
                }
            }
        }
    }
}

fn shifted(point: Point, at: usize) -> Point {
    Point { decided_by: point.decided_by + usize::from(point.decided_by >= at), ..point }
}

fn projection(from: Source, shape: Shape, weight: QuantSpec, point: Option<Point>) -> LayerSpec {
    let conv = Conv { c_in: shape.c, c_out: shape.c, kernel: 1, stride: 1, padding: 0, extra_end: 0, groups: 1 };
    LayerSpec {
        name: "layer1.0.downsample.0".to_owned(),
        op: Op::Conv(conv),
        inputs: vec![from],
        output: shape,
        norm: Some("layer1.0.downsample.1".to_owned()),
        norm_epsilon: TORCH_EPSILON,
        bias: false,
        act: Act::None,
        weight: Some(weight),
        point,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    #[test]
    fn the_projection_reads_the_pool_in_the_formats_of_the_first_convolution() {
        let mut network = build(&ModelSpec::new("resnet18".parse().unwrap())).unwrap();
        let count = network.weighted().len();
        let formats: Vec<Format> = (0..count).map(|rank| Format::Int(2 + rank as u8 % 7)).collect();
        let weights: Vec<_> = formats.iter().map(|format| QuantSpec::per_channel(*format)).collect();
        let activations: Vec<_> = formats.iter().map(|format| QuantSpec::per_tensor(*format)).collect();
        network.assign(&weights, &activations);
        let tf = network.in_tf_form().unwrap();
        tf.validate().unwrap();
        assert_eq!(tf.in_tf_form(), None);
        let (tf_weights, tf_activations) = tf.assigned();
        let (_, read) = network.assigned();
        // Execution order: conv1, layer1.0.conv1, layer1.0.conv2, the projection, then everything else as before.
        let expected: Vec<_> = [0, 1, 2, 1].into_iter().chain(3..count).collect();
        assert_eq!(tf_weights, expected.iter().map(|&rank| weights[rank]).collect::<Vec<_>>());
        assert_eq!(tf_activations, expected.iter().map(|&rank| read[rank]).collect::<Vec<_>>());
        let added = tf.layers.iter().find(|layer| layer.name == "layer1.0.downsample.0").unwrap();
        assert_eq!(tf.layers[1].op, Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
        assert_eq!((added.inputs.as_slice(), added.output), (&[Source::Layer(1)][..], Shape { c: 64, h: 56, w: 56 }));
    }
}
