//! The one evaluation that search, `eval` and export share.
//!
//! Batch-norm statistics (kept from a checkpoint, or re-estimated for this candidate), then ranges recorded with those
//! statistics fixed, then folding and quantization, then the images.

use tch::{Kind, Reduction, Tensor, no_grad};

use crate::error::{Error, Result};
use crate::models::Folded;
use crate::models::Pass;
use crate::models::Statistics;
use crate::models::Weights;
use crate::models::forward;
use crate::network::Network;

/// Accuracy of a network over some images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Right answers, in percent.
    pub top1: f64,
    /// Right answer among the first five, in percent.
    pub top5: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Number of images.
    pub n: usize,
}

/// How a network is made ready for evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Images, under the training augmentation, from which batch-norm statistics are re-estimated; empty keeps those of
    /// the weights.
    pub statistics: &'a [(Tensor, Tensor)],
    /// Images from which ranges are recorded.
    pub ranges: &'a [(Tensor, Tensor)],
}

/// Makes a network ready: statistics, folding, quantization, ranges.
pub fn prepare(network: &Network, weights: &Weights, evaluation: Evaluation<'_>) -> Folded {
    let batches: Vec<&Tensor> = evaluation.ranges.iter().map(|(x, _)| x).collect();
    let mut folded = if evaluation.statistics.is_empty() {
        Folded::new(network, weights, &weights.ranges)
    } else {
        Folded::new(network, &reestimated(network, weights, evaluation.statistics), &weights.ranges)
    };
    folded.record(&batches, &weights.learned_ranges());
    folded
}

/// The same parameters with batch-norm statistics averaged over `batches` as this network computes them.
pub fn reestimated(network: &Network, weights: &Weights, batches: &[(Tensor, Tensor)]) -> Weights {
    let fresh = weights.with_own_statistics();
    let mut ranges = weights.ranges.clone();
    for (index, (x, _)) in batches.iter().enumerate() {
        let pass = Pass { statistics: Statistics::Batch(1.0 / (index as f64 + 1.0)), follow: None, taps: None };
        let _logits = no_grad(|| forward(network, &fresh, &mut ranges, x, pass));
    }
    fresh
}

/// Scores a ready network on batches of images and labels.
///
/// # Errors
/// No images, or logits that are not finite.
pub fn evaluate<'a>(
    folded: &Folded,
    batches: impl IntoIterator<Item = Result<(Tensor, Tensor)>> + 'a,
) -> Result<Score> {
    let (mut right, mut right5, mut loss, mut n) = (0.0, 0.0, 0.0, 0);
    for batch in batches {
        let (x, y) = batch?;
        let logits = folded.logits(&x);
        let images = y.size()[0];
        right += logits.argmax(-1, false).eq_tensor(&y).sum(Kind::Int64).double_value(&[]);
        let five = logits.topk(5.min(logits.size()[1]), -1, true, false).1;
        right5 += five.eq_tensor(&y.unsqueeze(-1)).sum(Kind::Int64).double_value(&[]);
        loss += logits.cross_entropy_loss(&y, None::<&Tensor>, Reduction::Sum, -100, 0.0).double_value(&[]);
        n += images;
    }
    if n == 0 {
        return Err(Error::Failed("there are no images to evaluate".into()));
    }
    if !f64::is_finite(loss) {
        return Err(Error::Failed("the network's logits are not finite numbers".into()));
    }
    let percent = |count: f64| 100.0 * count / n as f64;
    Ok(Score { top1: percent(right), top5: percent(right5), loss: loss / n as f64, n: n as usize })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::QuantSpec;
    use crate::models::layer_outputs;
    use crate::network::{ModelSpec, build};
    use crate::seed::Seed;

    #[test]
    fn a_pass_without_gradients_gives_what_one_with_them_gives() {
        for model in ["resnet8", "mobilenet_v2", "efficientnet_lite0", "vit_tiny"] {
            for format in ["int4", "int8", "float4_e2m1fn", "float8_e4m3fn"].map(|name| name.parse().unwrap()) {
                let own = ModelSpec::new(model.parse().unwrap());
                let width = if model == "vit_tiny" { 0.125 } else { 0.25 };
                let spec = ModelSpec { width, resolution: Some(12), channels: Some(1), classes: Some(10), ..own };
                let mut network = build(&spec).unwrap();
                let layers = network.weighted().len();
                let (weights, points) = (QuantSpec::per_channel(format), QuantSpec::per_tensor(format));
                network.assign(&vec![weights; layers], &vec![points; layers]);
                let weights = Weights::initialised(&network, Seed::new(7), Device::Cpu);
                tch::manual_seed(0);
                let x = Tensor::randn([8, 1, 12, 12], (Kind::Float, Device::Cpu));
                let before = x.copy();
                let pass = Pass { statistics: Statistics::Batch(0.0), follow: None, taps: None };
                let run = || {
                    let mut ranges = weights.ranges.clone();
                    layer_outputs(&network, &weights, &mut ranges, &x, pass)
                };
                let (with, without) = (run(), no_grad(run));
                for ((a, b), layer) in with.iter().zip(&without).zip(&network.layers) {
                    assert!(a == b, "{model}, {format}: {}", layer.name);
                }
                assert_eq!(x, before);
            }
        }
    }
}
