//! Reading a network's formats back: the inverse of [`Network::assign`].

use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;

use super::{Network, Point};

impl Network {
    /// Weight and activation quantizers of the layers with weights, in the order [`Network::assign`] takes them.
    /// Activations are given signed, as a layer asks for them. A layer that decides no point (a projection reads a
    /// tensor that the block's first convolution decides) shows the quantizer of the tensor it reads.
    pub fn assigned(&self) -> (Vec<QuantSpec>, Vec<QuantSpec>) {
        let specs = |index: usize| {
            let layer = &self.layers[index];
            let read = || self.point(layer.inputs[0]);
            let activation = self.decided(index).next().or_else(read).map(asked_for);
            let float = QuantSpec::per_tensor(Format::Float32);
            (layer.weight.unwrap_or(float), activation.unwrap_or(float))
        };
        self.weighted().into_iter().map(specs).unzip()
    }

    /// The same network with every format float32.
    #[must_use]
    pub fn in_float(&self) -> Self {
        let mut network = self.clone();
        let float = vec![QuantSpec::per_tensor(Format::Float32); self.weighted().len()];
        network.assign(&float, &float);
        network
    }

    /// The same network with this format everywhere, a scale a channel of weights.
    #[must_use]
    pub fn uniform(&self, format: Format) -> Self {
        let (mut network, count) = (self.clone(), self.weighted().len());
        network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
        network
    }

    /// The points whose format the layer at this index decides.
    pub fn decided(&self, index: usize) -> impl Iterator<Item = &Point> {
        let points = self.layers.iter().filter_map(|layer| layer.point.as_ref());
        std::iter::once(&self.input_point).chain(points).filter(move |point| point.decided_by == index)
    }
}

/// The quantizer a layer asked for when this point became what it is.
fn asked_for(point: &Point) -> QuantSpec {
    let format = match point.spec.format {
        Format::Uint(bits) if point.nonnegative => Format::Int(bits),
        other => other,
    };
    QuantSpec { format, granularity: Granularity::Tensor, ..point.spec }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    #[test]
    fn what_was_assigned_is_read_back_signed() {
        let mut network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let count = network.weighted().len();
        let weights: Vec<_> = (0..count).map(|k| QuantSpec::per_channel(Format::Int(2 + k as u8 % 7))).collect();
        let activations: Vec<_> = (0..count).map(|k| QuantSpec::per_tensor(Format::Int(8 - k as u8 % 7))).collect();
        network.assign(&weights, &activations);
        assert_eq!(network.assigned(), (weights, activations));
        // The stem's result follows a ReLU and is read by layer 1 first: int7 there becomes uint7.
        assert_eq!(network.layers[0].point.as_ref().unwrap().spec.format, Format::Uint(7));
    }
}
