//! A network under construction: layers are appended by name and every shape follows from what came before.

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;

use super::points::place_points;
use super::{Act, Conv, LayerSpec, ModelSpec, Network, Op, Shape, Source, TORCH_EPSILON, Transform};

/// Output channels, kernel and stride of a convolution with "same" padding; input channels follow from the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvSize {
    pub(super) c_out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

/// Layers so far.
#[derive(Debug)]
pub(super) struct Graph {
    input: Shape,
    layers: Vec<LayerSpec>,
    origin: Origin,
}

/// The program a family comes from: how it pads convolutions and what its batch norms add to the variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Origin {
    /// Half the kernel of zeros on every side; 1e-5.
    Torch,
    /// As many zeros as give `ceil(side / stride)` pixels a side, an odd one at the bottom and right; 1e-3.
    TensorFlow,
}

impl Origin {
    /// Zeros on each side, and those beyond them at the end, for a side of `length` pixels.
    fn padding(self, length: usize, size: ConvSize) -> (usize, usize) {
        match self {
            Self::Torch => (size.kernel / 2, 0),
            Self::TensorFlow => {
                let reach = length.saturating_sub(1) / size.stride * size.stride + size.kernel;
                let zeros = reach.saturating_sub(length);
                (zeros / 2, zeros % 2)
            }
        }
    }

    fn norm_epsilon(self) -> f64 {
        match self {
            Self::Torch => TORCH_EPSILON,
            Self::TensorFlow => 1e-3,
        }
    }
}

impl Graph {
    pub(super) fn new(input: Shape) -> Self {
        Self::from_origin(input, Origin::Torch)
    }

    pub(super) fn from_origin(input: Shape, origin: Origin) -> Self {
        Self { input, layers: Vec::new(), origin }
    }

    pub(super) fn shape(&self, source: Source) -> Shape {
        match source {
            Source::Input => self.input,
            Source::Layer(index) => self.layers[index].output,
        }
    }

    /// A convolution without bias and the batch normalisation behind it.
    pub(super) fn conv(&mut self, name: String, norm: String, from: Source, size: ConvSize, act: Act) -> Source {
        self.grouped(name, norm, from, (size, 1), act)
    }

    /// One filter a channel, and the batch normalisation behind it; `size.c_out` does not count.
    pub(super) fn depthwise(&mut self, name: String, norm: String, from: Source, size: ConvSize, act: Act) -> Source {
        let channels = self.shape(from).c;
        self.grouped(name, norm, from, (ConvSize { c_out: channels, ..size }, channels), act)
    }

    fn grouped(
        &mut self,
        name: String,
        norm: String,
        from: Source,
        (size, groups): (ConvSize, usize),
        act: Act,
    ) -> Source {
        let ConvSize { c_out, kernel, stride } = size;
        let Shape { c: c_in, h, .. } = self.shape(from);
        let (padding, extra_end) = self.origin.padding(h, size);
        let conv = Conv { c_in, c_out, kernel, stride, padding, extra_end, groups };
        self.push(LayerSpec { norm: Some(norm), act, ..self.layer(name, Op::Conv(conv), vec![from]) })
    }

    /// A fully connected layer with bias.
    pub(super) fn linear(&mut self, name: String, from: Source, c_out: usize) -> Source {
        let op = Op::Linear { c_in: self.shape(from).c, c_out };
        self.push(LayerSpec { bias: true, ..self.layer(name, op, vec![from]) })
    }

    /// A 1x1 convolution with bias and without batch normalisation.
    pub(super) fn pointwise(&mut self, name: String, from: Source, c_out: usize, act: Act) -> Source {
        let c_in = self.shape(from).c;
        let conv = Conv { c_in, c_out, kernel: 1, stride: 1, padding: 0, extra_end: 0, groups: 1 };
        self.push(LayerSpec { bias: true, act, ..self.layer(name, Op::Conv(conv), vec![from]) })
    }

    /// One filter a channel without bias, and nothing behind it.
    pub(super) fn bare_depthwise(&mut self, name: String, from: Source, kernel: usize, stride: usize) -> Source {
        let Shape { c, h, .. } = self.shape(from);
        let (padding, extra_end) = self.origin.padding(h, ConvSize { c_out: c, kernel, stride });
        let conv = Conv { c_in: c, c_out: c, kernel, stride, padding, extra_end, groups: c };
        self.push(self.layer(name, Op::Conv(conv), vec![from]))
    }

    /// A convolution with bias whose windows touch but do not overlap, and nothing behind it.
    pub(super) fn patches(&mut self, name: String, from: Source, c_out: usize, side: usize) -> Source {
        let conv =
            Conv { c_in: self.shape(from).c, c_out, kernel: side, stride: side, padding: 0, extra_end: 0, groups: 1 };
        self.push(LayerSpec { bias: true, ..self.layer(name, Op::Conv(conv), vec![from]) })
    }

    /// Layer normalisation.
    pub(super) fn layer_norm(&mut self, name: String, from: Source) -> Source {
        self.push(LayerSpec { bias: true, ..self.layer(name, Op::LayerNorm, vec![from]) })
    }

    /// An activation with a quantization point in front of it.
    pub(super) fn activate(&mut self, name: String, from: Source, act: Act) -> Source {
        self.push(LayerSpec { act, ..self.layer(name, Op::Activate, vec![from]) })
    }

    /// Any operator with its activation; those with weights or gains have a bias.
    pub(super) fn operator(&mut self, name: &str, op: Op, inputs: Vec<Source>, act: Act) -> Source {
        let layer = self.layer(name.to_owned(), op, inputs);
        self.push(LayerSpec { bias: layer.weight.is_some() || op == Op::LayerNorm, act, ..layer })
    }

    /// An operator without parameters.
    pub(super) fn plain(&mut self, name: String, op: Op, inputs: Vec<Source>) -> Source {
        self.push(self.layer(name, op, inputs))
    }

    /// The sum of a branch and its shortcut, then ReLU.
    pub(super) fn add_relu(&mut self, name: String, branch: Source, shortcut: Source) -> Source {
        self.push(LayerSpec { act: Act::Relu, ..self.layer(name, Op::Add, vec![branch, shortcut]) })
    }

    /// The sum of a branch and its shortcut.
    pub(super) fn add(&mut self, name: String, branch: Source, shortcut: Source) -> Source {
        self.push(self.layer(name, Op::Add, vec![branch, shortcut]))
    }

    /// Max or average pooling.
    pub(super) fn pool(&mut self, name: &str, from: Source, op: Op) -> Source {
        self.push(self.layer(name.to_owned(), op, vec![from]))
    }

    /// The shortcut without parameters, to `c_out` channels.
    pub(super) fn pad_shortcut(&mut self, name: String, from: Source, stride: usize, c_out: usize) -> Source {
        let mut layer = self.layer(name, Op::PadShortcut { stride }, vec![from]);
        layer.output.c = c_out;
        self.push(layer)
    }

    /// Puts the quantization points on the tensors and closes the network.
    ///
    /// # Errors
    /// When the input is too small for a kernel, so that a layer's shape does not follow.
    pub(super) fn finish(self, spec: &ModelSpec) -> Result<Network> {
        self.close(spec.model.to_string(), spec.class_count(), spec.transform())
    }

    /// The same for a network that no spec describes.
    ///
    /// # Errors
    /// As [`Graph::finish`].
    pub(super) fn close(self, model: String, classes: usize, transform: Transform) -> Result<Network> {
        let network = self.network(model, classes, transform);
        unfit(&network, network.validate())?;
        Ok(network)
    }

    /// The same for a part of a network that gives a map of `channels`.
    ///
    /// # Errors
    /// As [`Graph::finish`].
    pub(super) fn close_part(self, model: String, channels: usize, transform: Transform) -> Result<Network> {
        let network = self.network(model, channels, transform);
        unfit(&network, network.validate_part())?;
        Ok(network)
    }

    fn network(mut self, model: String, classes: usize, transform: Transform) -> Network {
        let input_point = place_points(&mut self.layers);
        Network { model, input: self.input, classes, transform, input_point, layers: self.layers }
    }

    /// The layers so far, without quantization points.
    pub(super) fn into_layers(self) -> Vec<LayerSpec> {
        self.layers
    }

    fn layer(&self, name: String, op: Op, inputs: Vec<Source>) -> LayerSpec {
        let shapes: Vec<Shape> = inputs.iter().map(|source| self.shape(*source)).collect();
        let output = op.result(&shapes).unwrap_or(Shape { c: 0, h: 0, w: 0 });
        let weight = op.weight_shape().map(|_| QuantSpec::per_channel(Format::Float32));
        let norm_epsilon = self.origin.norm_epsilon();
        LayerSpec {
            name,
            op,
            inputs,
            output,
            norm: None,
            norm_epsilon,
            bias: false,
            act: Act::None,
            weight,
            point: None,
        }
    }

    fn push(&mut self, layer: LayerSpec) -> Source {
        self.layers.push(layer);
        Source::Layer(self.layers.len() - 1)
    }
}

/// What does not fit as an error of the model.
fn unfit(network: &Network, fits: std::result::Result<(), String>) -> Result<()> {
    fits.map_err(|what| Error::bad_value("model", &network.model, format!("does not fit its input: {what}")))
}
