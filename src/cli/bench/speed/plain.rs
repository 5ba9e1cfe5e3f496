//! A training step as PyTorch's operators take it by themselves: float32, row-major, one operator after another.

use tch::{Kind, Reduction, Tensor};

use crate::error::Result;
use crate::layers;
use crate::models::{Step, Weights, operate, walk};
use crate::network::{LayerSpec, Network, Op};
use crate::train::Trainer;

/// Running statistics move by this much.
const RATE: f64 = 0.1;

/// A walk over trained weights, batch norm as it is in training.
struct Plain<'a> {
    network: &'a Network,
    weights: &'a Weights,
}

impl Step for Plain<'_> {
    fn operate(&mut self, _index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        let y = match layer.op {
            Op::Conv(conv) => {
                let [stride, padding] = [conv.stride, conv.padding].map(|value| [value as i64; 2]);
                let weight = self.weights.weight(layer);
                x.conv2d(&weight, None::<&Tensor>, stride, padding, [1, 1], conv.groups as i64)
            }
            Op::Linear { .. } => layers::linear(x, &self.weights.weight(layer), Some(&self.weights.bias(layer))),
            _ => operate(layer, x, second, None),
        };
        let Some(norm) = &layer.norm else { return y };
        let [gain, offset, mean, var] = self.weights.norm(norm, layer.output.c);
        layers::batch_norm(&y, [&gain, &offset, &mean, &var], Some(RATE), layer.norm_epsilon)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let relu = self.network.layers[index].point.as_ref().is_some_and(|point| point.nonnegative);
        if relu { x.relu() } else { x }
    }
}

/// One step of a network of convolutions, additions, pools and linear layers in float32; never an error, but the signature
/// is that of an arm.
pub(super) fn step(network: &Network, trainer: &mut Trainer, (x, y): (&Tensor, &Tensor)) -> Result<()> {
    let mut plain = Plain { network, weights: &trainer.weights };
    let logits = walk(network, 0..network.layers.len(), x.shallow_clone(), &mut plain);
    logits.cross_entropy_loss(y, None::<&Tensor>, Reduction::Mean, -100, 0.0).backward();
    // As ours reports them at every step.
    let _right = logits.argmax(-1, false).eq_tensor(y).to_kind(Kind::Float).mean(None).double_value(&[]);
    trainer.update();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::speed::Subject;
    use crate::formats::Format;
    use crate::network::ModelName;
    use crate::train::{Regime, Single};

    #[test]
    fn it_learns_what_ours_learns_in_float() {
        let subject = Subject::new(ModelName::SmallResnet { depth: 8 }, 4).unwrap();
        let network = subject.network(Format::Float32);
        let (x, y) = (&subject.batch.0, &subject.batch.1);
        let (mut ours, mut theirs) = (subject.trainer(false), subject.trainer(false));
        Single(network.clone()).step(&mut ours, x, y).unwrap();
        step(&network, &mut theirs, (x, y)).unwrap();
        for ((name, a), (_, b)) in ours.weights.trained().zip(theirs.weights.trained()) {
            let far = (a - b).abs().max().double_value(&[]);
            assert!(far < 1e-4, "{name}: {far}");
        }
    }
}
