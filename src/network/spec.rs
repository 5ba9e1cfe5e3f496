//! The types of a network: layers in execution order, the tensors between them, the quantizers on those.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;

use super::Transform;

/// Size of one image, feature map or sequence, without the batch. The tokens of a transformer are a map of width 1: `c`
/// features of `h` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// Number of elements.
    pub fn elements(self) -> usize {
        self.c * self.h * self.w
    }

    /// Whether it is a sequence of several tokens.
    pub fn is_tokens(self) -> bool {
        self.w == 1 && self.h > 1
    }
}

/// Where a layer reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The network's input image.
    Input,
    /// The output of the layer at this index in [`Network::layers`].
    Layer(usize),
}

/// Added to the variance of a token before the root is taken, as in timm.
pub const LAYER_NORM_EPSILON: f64 = 1e-6;

/// What is applied to a layer's result before it is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x times the Gaussian's distribution function (Hendrycks and Gimpel 2016), exact.
    Gelu,
    /// x times the logistic function of x (Ramachandran et al. 2017).
    Swish,
    /// x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section 5.2).
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
}

const ACT_NAMES: [(Act, &str); 7] = [
    (Act::None, "none"),
    (Act::Relu, "relu"),
    (Act::Relu6, "relu6"),
    (Act::Gelu, "gelu"),
    (Act::Swish, "swish"),
    (Act::HardSwish, "hard_swish"),
    (Act::HardSigmoid, "hard_sigmoid"),
];

impl Act {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        ACT_NAMES.iter().find(|(act, _)| *act == self).map_or("", |(_, name)| name)
    }

    /// The activation of a name in tables.
    ///
    /// # Errors
    /// No such activation.
    pub fn named(name: &str) -> Result<Self> {
        let found = ACT_NAMES.iter().find(|(_, known)| *known == name).map(|(act, _)| *act);
        found.ok_or_else(|| Error::unknown_name("act", name, ACT_NAMES.iter().map(|(_, known)| *known)))
    }

    /// Whether it never gives a negative value.
    pub fn is_nonnegative(self) -> bool {
        matches!(self, Self::Relu | Self::Relu6 | Self::HardSigmoid)
    }
}

/// A two-dimensional convolution; square kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Zero padding on each side.
    pub padding: usize,
    /// Rows and columns of zeros at the bottom and right beyond `padding`: 1 where TensorFlow's "same" padding is uneven.
    #[serde(default)]
    pub extra_end: usize,
    /// Groups; `c_in` for depthwise.
    pub groups: usize,
}

/// The operator of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Convolution, weight `[c_out, c_in / groups, kernel, kernel]`.
    Conv(Conv),
    /// Fully connected over the channels, for each place of the map alike, weight `[c_out, c_in]`.
    Linear {
        /// Input features.
        c_in: usize,
        /// Output features.
        c_out: usize,
    },
    /// Sum of two inputs of equal shape.
    Add,
    /// Each channel of a map times its gate (Hu et al. 2018, squeeze-and-excitation): reads `[c, h, w]` and `[c, 1, 1]`.
    Gate,
    /// Max pooling; commutes with quantization, so it repeats its input's scale.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding on each side.
        padding: usize,
    },
    /// Mean over rows and columns, giving `[c, 1, 1]`.
    GlobalAvgPool,
    /// Shortcut without parameters (He et al. 2016, option A): every `stride`-th row and column, then zero channels,
    /// half of the missing ones in front and half behind. Repeats its input's scale.
    PadShortcut {
        /// Step through rows and columns.
        stride: usize,
    },
    /// The pixels of a map as tokens, row by row, behind a learned class token; a learned position is added to each
    /// (Dosovitskiy et al. 2021): `[c, h, w]` becomes `[c, h w + 1, 1]`.
    Embed,
    /// Normalisation over the features of each token with a learned gain and offset (Ba et al. 2016), in float.
    LayerNorm,
    /// Attention of every token to every other, by heads: softmax of scaled products of queries and keys, in float.
    /// `[3 c, t, 1]`, which holds queries, keys and values, becomes `[heads, t, t]`.
    AttentionScores {
        /// Heads, which share the features evenly.
        heads: usize,
    },
    /// Sums of the values of all tokens, weighed by the scores: reads `[heads, t, t]` and `[3 c, t, 1]`, gives `[c, t, 1]`.
    AttentionValues {
        /// Heads, which share the features evenly.
        heads: usize,
    },
    /// The first token.
    ClassToken,
    /// The layer's activation alone.
    Activate,
}

impl Op {
    /// Shape of the parameters that stay in float32 in every format: a row for each token, or one for all.
    pub fn float_shape(&self, output: Shape) -> Option<Vec<usize>> {
        match self {
            Self::Embed => Some(vec![output.h, output.c]),
            Self::LayerNorm => Some(vec![1, output.c]),
            _ => None,
        }
    }
}

/// The quantizer on a tensor; all readers of the tensor share it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Format and scales. Integer formats of a `nonnegative` tensor are stored unsigned here already.
    pub spec: QuantSpec,
    /// Whether the tensor follows a ReLU: unsigned integers, zero point 0, and the clamp at 0 is the ReLU.
    pub nonnegative: bool,
    /// Index of the layer with weights whose activation format this point takes.
    pub decided_by: usize,
}

impl Point {
    /// Whether one scale is recorded for the whole tensor; each token's own is taken from its values.
    pub fn has_scale(&self) -> bool {
        self.spec.format != Format::Float32 && !self.is_by_token()
    }

    /// Whether each token has a scale of its own.
    pub fn is_by_token(&self) -> bool {
        self.spec.granularity == Granularity::Token
    }
}

/// Batch-norm epsilon of PyTorch, which most public checkpoints were trained with.
pub const TORCH_EPSILON: f64 = 1e-5;

fn torch_epsilon() -> f64 {
    TORCH_EPSILON
}

/// One layer: operator, where it reads, its normalisation and activation, its formats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// Parameter prefix, as in the public checkpoints (`layer1.0.conv1`).
    pub name: String,
    /// The operator.
    pub op: Op,
    /// Where it reads; two entries for [`Op::Add`] (branch first, shortcut second), [`Op::Gate`] and
    /// [`Op::AttentionValues`], one for the others.
    pub inputs: Vec<Source>,
    /// Shape of the result.
    pub output: Shape,
    /// Parameter prefix of the batch normalisation behind the operator, if any.
    pub norm: Option<String>,
    /// What that normalisation adds to the variance before the square root.
    #[serde(default = "torch_epsilon")]
    pub norm_epsilon: f64,
    /// Whether the operator has a bias of its own.
    pub bias: bool,
    /// Activation behind the normalisation.
    pub act: Act,
    /// Quantizer of the weights; `None` for operators without weights.
    pub weight: Option<QuantSpec>,
    /// Quantizer on the result, if the result is a quantization point.
    pub point: Option<Point>,
}

impl LayerSpec {
    /// Shape and quantizer of what a file holds as the layer's weight: the weights, or float parameters.
    pub fn stored_weight(&self) -> Option<(Vec<usize>, QuantSpec)> {
        let float = || Some((self.op.float_shape(self.output)?, QuantSpec::per_tensor(Format::Float32)));
        self.op.weight_shape().zip(self.weight).or_else(float)
    }

    /// Number of biases in a file, one a channel; batch normalisation folds into some.
    pub fn stored_bias(&self) -> Option<usize> {
        (self.bias || self.norm.is_some()).then_some(self.output.c)
    }
}

/// A network: layers in execution order; the last one gives the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Model name, as the command line takes it.
    pub model: String,
    /// Shape of one input image.
    pub input: Shape,
    /// Number of classes, the length of the logits.
    pub classes: usize,
    /// From a user's image to the input.
    pub transform: Transform,
    /// Quantizer on the input image.
    pub input_point: Point,
    /// The layers.
    pub layers: Vec<LayerSpec>,
}

impl Network {
    /// Indices of the layers with weights, in execution order: the order of format decisions.
    pub fn weighted(&self) -> Vec<usize> {
        (0..self.layers.len()).filter(|&index| self.layers[index].weight.is_some()).collect()
    }

    /// Shape of what a source holds.
    pub fn shape(&self, source: Source) -> Shape {
        match source {
            Source::Input => self.input,
            Source::Layer(index) => self.layers[index].output,
        }
    }

    /// The quantizer on the tensor a source names. Operators that repeat their input's scale (max pooling, the padded
    /// shortcut) pass their input's quantizer on.
    pub fn point(&self, source: Source) -> Option<&Point> {
        match source {
            Source::Input => Some(&self.input_point),
            Source::Layer(index) => {
                let layer = &self.layers[index];
                match layer.op {
                    Op::MaxPool { .. } | Op::PadShortcut { .. } if layer.point.is_none() => self.point(layer.inputs[0]),
                    _ => layer.point.as_ref(),
                }
            }
        }
    }

    /// Sets the formats: `weights[k]` and `activations[k]` belong to the `k`-th layer with weights
    /// ([`Network::weighted`]). Tensors without negative values take the unsigned integer of the same width.
    ///
    /// # Panics
    /// When a slice's length is not the number of layers with weights.
    pub fn assign(&mut self, weights: &[QuantSpec], activations: &[QuantSpec]) {
        let weighted = self.weighted();
        assert!(weights.len() == weighted.len() && activations.len() == weighted.len(), "one spec a weighted layer");
        let chosen = |point: &mut Point| {
            if let Some(rank) = weighted.iter().position(|&index| index == point.decided_by) {
                // Whether a scale belongs to a tensor or to each token is the point's own.
                point.spec = QuantSpec { granularity: point.spec.granularity, ..activations[rank] };
                if point.nonnegative {
                    point.spec.format = point.spec.format.for_nonnegative();
                }
            }
        };
        chosen(&mut self.input_point);
        for layer in &mut self.layers {
            if let Some(point) = &mut layer.point {
                chosen(point);
            }
        }
        for (rank, &index) in weighted.iter().enumerate() {
            self.layers[index].weight = Some(weights[rank]);
        }
    }
}
