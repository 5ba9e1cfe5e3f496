//! How sharply the loss bends in each layer's weights: traces of the Fisher information.
//!
//! Of the float network, batch norm folded in: the mean over images of the squared gradient of an image's cross entropy, summed
//! over a layer's weights. Where labels follow the network's own distribution it stands for the Hessian's, of the last layer
//! exactly. Hutchinson's estimate of the Hessian's own trace (arXiv 1911.03852), 32 random vectors over all layers at once on 64
//! images of CIFAR-10, was negative for 6 of ResNet-20's 20 layers, the last among them, whose trace cannot be: too noisy to
//! show.

use rand::RngExt;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

use super::{Calibrated, trainable};
use crate::error::{Error, Result};
use crate::layers;
use crate::models::{Step, operate, walk};
use crate::network::{LayerSpec, Network};
use crate::seed::Seed;

/// A label for each image, drawn from the float network's own distribution.
///
/// # Shapes
/// `logits`: `[n, classes]`; the result is `[n]`.
pub fn drawn_labels(logits: &Tensor, seed: Seed) -> Tensor {
    let mut rng = seed.rng();
    let below = no_grad(|| logits.softmax(-1, Kind::Float).cumsum(-1, Kind::Float));
    let dice: Vec<f32> = (0..logits.size()[0]).map(|_| rng.random::<f32>()).collect();
    let dice = Tensor::from_slice(&dice).to_device(logits.device()).unsqueeze(-1);
    below.le_tensor(&dice).sum_dim_intlist(-1, false, Kind::Int64).clamp_max(logits.size()[1] - 1)
}

/// For each layer with weights the trace of the Fisher information, one gradient an image; `step` is told after each image and
/// may end it.
///
/// # Shapes
/// `batches`: images `[n, c, h, w]`, normalised, and labels `[n]`.
///
/// # Errors
/// What `step` returns; libtorch's.
pub fn fisher_traces(
    calibrated: &Calibrated,
    batches: &[(&Tensor, &Tensor)],
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let mut plain = Plain::new(calibrated, device(batches));
    let (mut traces, mut images) = (vec![0.0; plain.weights.len()], 0);
    for (x, labels) in batches {
        for at in 0..x.size()[0] {
            let loss = plain.loss(&x.narrow(0, at, 1), &labels.narrow(0, at, 1));
            let failed = |error: tch::TchError| Error::Failed(format!("the gradient of the loss: {error}"));
            let gradients = Tensor::f_run_backward(&[&loss], &plain.weights, false, false).map_err(failed)?;
            for (trace, gradient) in traces.iter_mut().zip(&gradients) {
                *trace += gradient.square().sum(Kind::Double).double_value(&[]);
            }
            images += 1;
            step()?;
        }
    }
    Ok(traces.iter().map(|trace| trace / f64::from(images.max(1))).collect())
}

fn device(batches: &[(&Tensor, &Tensor)]) -> Device {
    batches.first().map_or(Device::Cpu, |(x, _)| x.device())
}

/// The float network on weights that a gradient reaches.
struct Plain<'a> {
    network: &'a Network,
    parameters: Vec<Option<(Tensor, Tensor)>>,
    /// Handles on the weights of the layers with weights, in execution order.
    weights: Vec<Tensor>,
}

impl<'a> Plain<'a> {
    fn new(calibrated: &'a Calibrated, device: Device) -> Self {
        let stored = calibrated.float();
        let network = &stored.network;
        let own = stored.layers.iter().map(|own| own.as_ref().map(|own| trainable::parameters(own, device)));
        let parameters: Vec<Option<(Tensor, Tensor)>> = own.collect();
        let handle = |index: usize| Some(parameters[index].as_ref()?.0.set_requires_grad(true));
        let weights = network.weighted().into_iter().filter_map(handle).collect();
        Self { network, parameters, weights }
    }

    /// Mean cross entropy.
    fn loss(&mut self, x: &Tensor, labels: &Tensor) -> Tensor {
        let network = self.network;
        let logits = walk(network, 0..network.layers.len(), layers::channels_last(x), self);
        logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
    }
}

impl Step for Plain<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        operate(layer, x, second, self.parameters[index].as_ref().map(|(weight, bias)| (weight, bias)))
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let point = self.network.layers[index].point.as_ref();
        if point.is_some_and(|point| point.nonnegative) { x.relu() } else { x }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::Clips;

    fn small() -> (Calibrated, Tensor) {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new("resnet8".parse().unwrap()) };
        let network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        tch::manual_seed(3);
        let x = Tensor::randn([6, network.input.c as i64, 16, 16], (Kind::Float, Device::Cpu));
        (Calibrated::new(&network, &weights, &[&x], Clips::default()), x)
    }

    /// What the last layer reads, `[n, features]`, and the probabilities it gives, `[n, classes]`.
    fn last_layer(calibrated: &Calibrated, x: &Tensor) -> (Tensor, Tensor) {
        let float = calibrated.exact(Device::Cpu);
        let layers = float.stored().network.layers.len();
        let features = float.part(0..layers - 1, &float.input(x)).flatten(1, -1);
        (features, float.logits(x).softmax(-1, Kind::Float))
    }

    #[test]
    fn the_last_layers_fisher_trace_is_the_closed_form() {
        // The gradient is (p - e_y) x^T, so its squared norm is |p - e_y|^2 |x|^2.
        let (calibrated, x) = small();
        let labels = Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5]);
        let (features, p) = last_layer(&calibrated, &x);
        let off = p - labels.one_hot(10).to_kind(Kind::Float);
        let square = |t: &Tensor| t.square().sum_dim_intlist(-1, false, Kind::Double);
        let expected = (square(&off) * square(&features)).mean(Kind::Double).double_value(&[]);
        let mut images = 0;
        let found = fisher_traces(&calibrated, &[(&x, &labels)], &mut || {
            images += 1;
            Ok(())
        });
        let found = found.unwrap();
        assert_eq!((images, found.len()), (6, calibrated.float().network.weighted().len()));
        assert!((found[found.len() - 1] / expected - 1.0).abs() < 1e-4, "{found:?} {expected}");
        assert!(found.iter().all(|&trace| trace > 0.0), "{found:?}");
    }

    #[test]
    fn labels_are_drawn_as_the_network_believes() {
        let logits = Tensor::from_slice(&[0.0_f32, (3.0_f32).ln(), f32::NEG_INFINITY]).repeat([4000, 1]);
        let labels = drawn_labels(&logits, Seed::new(2));
        let share = |class: i64| labels.eq(class).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((share(1) - 0.75).abs() < 0.03 && share(2) == 0.0, "{} {}", share(1), share(2));
    }
}
