//! Supernets with elastic operators: candidates are parts of the shared weights, and nothing else.

use std::collections::BTreeMap;

use bitfront::checkpoint::Array;
use bitfront::models::{Folded, Pass, Statistics, Weights, forward, shared_part};
use bitfront::quant::Ranges;
use bitfront::ron_text;
use bitfront::seed::Seed;
use bitfront::space::{Space, SpaceFile};
use bitfront::train::{Regime, Sandwich, Snapshot, TrainConfig, Trainer};
use tch::{Device, Kind, Tensor};

fn space() -> Space {
    let text = "(model: \"mobilenet_v2\", width: 0.25, resolution: 16, channels: 1, classes: 4,
        formats: [\"int8\", \"float32\"], decisions: Block,
        elastic: (blocks: [Inverted, SqueezeExcite, Fused], kernels: [3, 7], expansions: [2, 4], depths: [1, 2], widths: [0.5, 1.0]))";
    Space::new(ron_text::parse::<SpaceFile>(text, "x.ron").unwrap()).unwrap()
}

/// The shared weights of all kinds of block.
fn shared(space: &Space) -> Weights {
    let each = space.largest_networks().into_iter();
    let each = each.map(|network| Weights::initialised(&network, Seed::new(3), Device::Cpu));
    each.reduce(Weights::with).unwrap()
}

/// A genome of the space in float32 with operators drawn by `draw`.
fn sampled(space: &Space, draw: impl Fn(usize, usize) -> usize) -> Vec<u8> {
    let genes = space
        .decisions()
        .iter()
        .zip(space.choices())
        .enumerate()
        .map(|(at, (decision, count))| if decision.is_format() { 1 } else { draw(at, usize::from(count)) as u8 });
    genes.collect()
}

/// The element of a shared array that element `index` of a part of shape `part` is, by the definition: leading channels, the
/// middle of kernels.
fn place(index: usize, part: &[usize], whole: &[usize]) -> usize {
    let mut rest = index;
    let mut at = vec![0; part.len()];
    for axis in (0..part.len()).rev() {
        at[axis] = rest % part[axis] + if axis >= 2 { (whole[axis] - part[axis]) / 2 } else { 0 };
        rest /= part[axis];
    }
    at.iter().zip(whole).fold(0, |place, (at, length)| place * length + at)
}

#[test]
fn a_candidate_computes_what_its_own_copy_of_its_part_computes() {
    let space = space();
    let shared = shared(&space);
    let arrays = shared.to_arrays();
    let x = Tensor::randn([2, 1, 16, 16], (Kind::Float, Device::Cpu));
    for draw in [|_, _| 0, |at, count| (at * 7 + 3) % count, |at, count| (at * 5 + at / 3) % count] {
        let network = space.network(&sampled(&space, draw));
        let mut own: BTreeMap<String, Array> = BTreeMap::new();
        for (name, shape) in network.parameters() {
            let whole = &arrays[&name];
            let values = whole.as_floats().unwrap();
            let count = shape.iter().product();
            let part: Vec<f32> = (0..count).map(|index| values[place(index, &shape, &whole.shape)]).collect();
            let part = Array::floats(shape.clone(), part);
            assert_eq!(shared_part(whole, &shape), part, "{name}");
            own.insert(name, part);
        }
        let own = Weights::from_arrays(&network, &own, Device::Cpu).unwrap();
        let pass = Pass { statistics: Statistics::Batch(0.5), follow: None, taps: None };
        let logits = |weights: &Weights| forward(&network, weights, &mut Ranges::default(), &x, pass);
        assert_eq!(logits(&shared.with_own_statistics()), logits(&own.with_own_statistics()));
        let folded = |weights: &Weights| Folded::new(&network, weights, &Ranges::default()).logits(&x);
        assert_eq!(folded(&shared), folded(&own));
    }
}

#[test]
fn only_the_part_in_use_gets_gradients_and_statistics() {
    let space = space();
    let shared = shared(&space);
    let network = space.network(&space.narrowest().0);
    let x = Tensor::randn([4, 1, 16, 16], (Kind::Float, Device::Cpu));
    let pass = Pass { statistics: Statistics::Batch(1.0), follow: None, taps: None };
    forward(&network, &shared, &mut Ranges::default(), &x, pass).sum(Kind::Float).backward();
    let parameters: BTreeMap<String, Vec<usize>> = network.parameters().into_iter().collect();
    for (name, tensor) in shared.trained() {
        let gradient = tensor.grad();
        let Some(shape) = parameters.get(name) else {
            assert!(!gradient.defined(), "{name} has no part in this network");
            continue;
        };
        let whole: Vec<usize> = tensor.size().iter().map(|&length| length as usize).collect();
        let values = Vec::<f32>::try_from(gradient.contiguous().view([-1])).unwrap();
        let inside: std::collections::HashSet<usize> =
            (0..shape.iter().product()).map(|index| place(index, shape, &whole)).collect();
        let stray = values.iter().enumerate().find(|(index, value)| **value != 0.0 && !inside.contains(index));
        assert_eq!(stray, None, "{name}");
    }
    // Half of the last stage's channels moved from mean 0, the other half did not.
    let mean = Vec::<f32>::try_from(shared.get("features.17.conv.3.running_mean")).unwrap();
    let half = mean.len() / 2;
    assert!(mean[..half].iter().all(|mean| *mean != 0.0) && mean[half..].iter().all(|mean| *mean == 0.0), "{mean:?}");
}

#[test]
fn a_resumed_training_leaves_the_weights_of_an_uninterrupted_one() {
    let space = space();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("snapshot.safetensors");
    let x = Tensor::randn([4, 1, 16, 16], (Kind::Float, Device::Cpu));
    let y = Tensor::from_slice(&[0_i64, 1, 2, 3]);
    let config = || TrainConfig { lr: 0.01, ..TrainConfig::default() };
    let trained = |interruptions: &[usize]| {
        let mut trainer = Trainer::new(shared(&space), config(), 8);
        let mut regime = Sandwich::new(&space, 1, Seed::new(1));
        while trainer.step < 8 {
            regime.step(&mut trainer, &x, &y).unwrap();
            if interruptions.contains(&trainer.step) {
                Snapshot::save(&path, &trainer, &regime).unwrap();
                let saved = Snapshot::load(&path).unwrap();
                let each = space.largest_networks().into_iter();
                let each = each.map(|network| Weights::from_arrays(&network, &saved.arrays, Device::Cpu).unwrap());
                trainer = Trainer::new(each.reduce(Weights::with).unwrap(), config(), 8);
                saved.restore(&mut trainer);
            }
        }
        trainer.weights.to_arrays()
    };
    // Interrupted where blocks have trained that the next steps leave out.
    assert_eq!(trained(&[]), trained(&[1, 2, 4, 5, 7]));
}
