//! The numeric claims of the evaluation: no state between formats, folding is exact, gradients pass straight through.

use bitfront::formats::Format;
use bitfront::formats::QuantSpec;
use bitfront::formats::fake_quantize;
use bitfront::models::Folded;
use bitfront::models::Pass;
use bitfront::models::Statistics;
use bitfront::models::Weights;
use bitfront::models::forward;
use bitfront::network::Network;
use bitfront::network::Point;
use bitfront::quant;
use bitfront::quant::Range;
use bitfront::seed::Seed;
use bitfront::space::Space;
use bitfront::space::SpaceFile;
use bitfront::train::Regime;
use bitfront::train::Single;
use bitfront::train::TrainConfig;
use bitfront::train::Trainer;
use rand::RngExt;
use tch::Device;
use tch::Kind;
use tch::Tensor;

fn space() -> Space {
    Space::new(SpaceFile::demo().unwrap()).unwrap()
}

fn uniform(format: &str) -> Network {
    let space = space();
    space.network(&space.uniform(format.parse().unwrap()).unwrap())
}

/// Sixteen images of noise, the same on every call.
fn images() -> Tensor {
    let mut rng = Seed::new(3).rng();
    let pixels: Vec<f32> = (0..16 * 28 * 28).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect();
    Tensor::from_slice(&pixels).view([16, 1, 28, 28])
}

fn weights() -> Weights {
    let mut weights = Weights::initialised(&uniform("int8"), Seed::new(1), Device::Cpu);
    let pass = Pass { statistics: Statistics::Batch(0.5), follow: Some(1.0), taps: None };
    let mut ranges = std::mem::take(&mut weights.ranges);
    let _logits = forward(&uniform("int8"), &weights, &mut ranges, &images(), pass);
    weights.ranges = ranges;
    weights
}

fn running(network: &Network, weights: &Weights) -> Tensor {
    let pass = Pass { statistics: Statistics::Running, follow: None, taps: None };
    forward(network, weights, &mut weights.ranges.clone(), &images(), pass).detach()
}

#[test]
fn eight_then_four_then_eight_bits_gives_the_same_bits() {
    let weights = weights();
    let (eight, four) = (uniform("int8"), uniform("int4"));
    let first = running(&eight, &weights);
    let other = running(&four, &weights);
    assert_ne!(first, other);
    assert_eq!(first, running(&eight, &weights));
}

#[test]
fn folding_changes_no_logit_beyond_float_rounding() {
    let weights = weights();
    let mut plain = uniform("int8");
    let layers = plain.weighted().len();
    // Float activations: a rounding difference of the folded product cannot then be blown up by a quantizer's step.
    let float = vec![QuantSpec::per_tensor(Format::Float32); layers];
    plain.assign(&vec![QuantSpec::per_channel(Format::Int(4)); layers], &float);
    let folded = Folded::new(&plain, &weights, &weights.ranges).logits(&images());
    let difference = (folded - running(&plain, &weights)).abs().max().double_value(&[]);
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn gradient_of_an_activation_is_one_inside_and_zero_outside_its_clip() {
    let network = uniform("int4");
    let point = network.layers[0].point.unwrap();
    let range = Range { max: 1.0, rms: 1.0 };
    // uint4 over [0, 1]: steps of 1/15; 0.2 is 3/15, and 0.91 = 13.65/15 rounds to 14/15.
    let expected = Tensor::from_slice(&[0.0_f32, 3.0 / 15.0, 14.0 / 15.0, 1.0]);
    // A parameter is left as it is; a result's memory becomes the mask.
    for through in [Tensor::shallow_clone, |x: &Tensor| x * 1.0] {
        let x = Tensor::from_slice(&[-0.5_f32, 0.2, 0.91, 1.5]).set_requires_grad(true);
        let y = quant::activation(through(&x), &point, range);
        assert!((&y - &expected).abs().max().double_value(&[]) < 1e-6);
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::from_slice(&[0.0_f32, 1.0, 1.0, 0.0]));
        assert_eq!(x.detach(), Tensor::from_slice(&[-0.5_f32, 0.2, 0.91, 1.5]));
    }
}

#[test]
fn values_and_gradients_of_a_large_activation_are_those_of_clamp_and_round() {
    let (range, size) = (Range { max: 2.0, rms: 0.7 }, [3, 16, 40, 41]);
    let upstream = Tensor::randn(size, (Kind::Float, Device::Cpu));
    for format in ["int8", "int4", "float8_e4m3fn", "float4_e2m1fn", "float16"].map(|name| name.parse().unwrap()) {
        for nonnegative in [true, false] {
            let point = Point { spec: QuantSpec::per_tensor(format), nonnegative, decided_by: 0 };
            let latent = (Tensor::randn(size, (Kind::Float, Device::Cpu)) * 2.0).set_requires_grad(true);
            let y = quant::activation(&latent * 1.0, &point, range);
            (&y * &upstream).sum(Kind::Float).backward();
            let scale = quant::point_scale(&point, range).unwrap();
            let low = if nonnegative { 0.0 } else { format.min() as f32 * scale };
            let (x, g) = (floats(&latent), floats(&upstream));
            let high = format.max() as f32 * scale;
            let mut expected: Vec<f32> = x.iter().map(|x| x.clamp(low, high)).collect();
            let mask: Vec<f32> = x.iter().map(|x| f32::from(u8::from((low..=high).contains(x)))).collect();
            fake_quantize(format, &mut expected, scale);
            assert_eq!(floats(&y), expected, "{format}, nonnegative {nonnegative}");
            let gradient: Vec<f32> = g.iter().zip(&mask).map(|(g, mask)| g * mask).collect();
            assert_eq!(floats(&latent.grad()), gradient, "{format}, nonnegative {nonnegative}");
        }
    }
}

fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.detach().contiguous().view([-1])).unwrap()
}

#[test]
fn gradient_of_a_weight_passes_straight_through() {
    let w = Tensor::from_slice(&[0.9_f32, -0.31, 0.02, 0.4]).view([2, 2]).set_requires_grad(true);
    let y = quant::weight(&w, QuantSpec::per_channel(Format::Int(3)));
    // int3 by channel: scales 0.9 / 3 and 0.4 / 3; -0.31 / 0.3 rounds to -1, 0.02 / 0.1333 to 0.
    let expected = Tensor::from_slice(&[0.9_f32, -0.3, 0.0, 0.4]).view([2, 2]);
    assert!((&y - expected).abs().max().double_value(&[]) < 1e-6);
    (y * 2.0).sum(Kind::Float).backward();
    assert_eq!(w.grad(), Tensor::from_slice(&[2.0_f32, 2.0, 2.0, 2.0]).view([2, 2]));
}

#[test]
fn training_lowers_the_loss_and_a_learning_rate_near_zero_does_not() {
    let labels = Tensor::from_slice(&(0..16_i64).map(|i| i % 10).collect::<Vec<_>>());
    let after = |lr: f64| {
        let config = TrainConfig { lr, ..TrainConfig::default() };
        let start = Weights::initialised(&uniform("int4"), Seed::new(1), Device::Cpu);
        let mut trainer = Trainer::new(start, config, 40);
        let mut regime = Single(uniform("int4"));
        let losses: Vec<f64> = (0..40).map(|_| regime.step(&mut trainer, &images(), &labels).unwrap().loss).collect();
        (losses[0], losses[39])
    };
    let (first, last) = after(0.05);
    assert!(last < 0.5 * first, "{first} to {last}");
    let (first, last) = after(1e-9);
    assert!((first - last).abs() < 0.05 * first, "{first} to {last}");
}

#[test]
fn a_diverged_training_is_an_error_that_names_the_learning_rate() {
    let labels = Tensor::zeros([16], (Kind::Int64, Device::Cpu));
    let start = Weights::initialised(&uniform("int8"), Seed::new(1), Device::Cpu);
    let mut trainer = Trainer::new(start, TrainConfig::default(), 4);
    let broken = images() * f64::NAN;
    let error = Single(uniform("int8")).step(&mut trainer, &broken, &labels).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("--lr"), "{error}");
}
