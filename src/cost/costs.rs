//! All costs of one network.

use serde::Serialize;

use crate::network::Network;

use super::memory::activation_bytes;
use super::size::activation_scale_bits;
use super::size::weight_bits;
use super::{Convention, LayerCost};

/// Costs of one network for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Multiply-accumulates.
    pub macs: u64,
    /// MACs x weight bits x activation bits, in 1e9; a tensor without a quantizer has 32 bits.
    pub gbops: f64,
    /// Weight codes, scales and folded float32 biases as the packed file stores them, in 1e6 bytes.
    pub size_mb: f64,
    /// Largest sum of live tensors in execution order at batch 1, in 1e3 bytes.
    pub act_mem_kb: f64,
    /// Trained parameters, with biases and batch normalisation.
    pub params: u64,
    /// Mean weight bits over the weights, without scale bits.
    pub avg_w_bits: f64,
    /// Mean activation bits over the elements of all quantized tensors, without scale bits.
    pub avg_a_bits: f64,
    /// Latency on the target device; `None` until a latency table gives it.
    pub latency_ms: Option<f64>,
}

impl Costs {
    /// The costs of a network under a convention.
    pub fn of(network: &Network, convention: Convention) -> Self {
        let network = convention.counted(network);
        let rows = LayerCost::rows(&network, convention);
        let code_bits = |row: &LayerCost| row.weights as f64 * f64::from(row.weight.bits());
        let points = network.layers.iter().filter_map(|layer| Some((layer.output, layer.point?)));
        let (bits, elements) = points
            .chain([(network.input, network.input_point)])
            .map(|(shape, point)| (shape.elements() as f64, f64::from(point.spec.format.bits())))
            .fold((0.0, 0.0), |(bits, count), (elements, each)| (bits + elements * each, count + elements));
        Self {
            macs: rows.iter().map(|row| row.macs).sum(),
            gbops: rows.iter().map(|row| row.gbops).sum(),
            size_mb: (network.layers.iter().map(weight_bits).sum::<u64>() + activation_scale_bits(&network)) as f64
                / 8e6,
            act_mem_kb: activation_bytes(&network) as f64 / 1e3,
            params: network.parameter_count(),
            avg_w_bits: rows.iter().map(code_bits).sum::<f64>()
                / rows.iter().map(|row| row.weights as f64).sum::<f64>(),
            avg_a_bits: bits / elements,
            latency_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::codes_mib;
    use crate::formats::Format;
    use crate::formats::QuantSpec;
    use crate::network::ModelSpec;
    use crate::network::build;

    /// A model with its layers set by rank: `format(rank, number of layers)`.
    fn costs(spec: &ModelSpec, convention: Convention, format: impl Fn(usize, usize) -> Format) -> Costs {
        Costs::of(&with_formats(spec, format), convention)
    }

    fn with_formats(spec: &ModelSpec, format: impl Fn(usize, usize) -> Format) -> Network {
        let mut network = build(spec).unwrap();
        let count = network.weighted().len();
        let formats: Vec<Format> = (0..count).map(|rank| format(rank, count)).collect();
        let weights: Vec<_> = formats.iter().map(|format| QuantSpec::per_channel(*format)).collect();
        let activations: Vec<_> = formats.iter().map(|format| QuantSpec::per_tensor(*format)).collect();
        network.assign(&weights, &activations);
        network
    }

    fn model(name: &str) -> ModelSpec {
        ModelSpec::new(name.parse().unwrap())
    }

    /// Whether `value` is `printed` when rounded to the digits of `printed`.
    fn prints_as(value: f64, printed: &str) -> bool {
        let digits = printed.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        format!("{value:.digits$}") == printed
    }

    #[test]
    fn fliqs_macs_at_all_widths_have_the_digits_of_the_papers_figures() {
        // research/fliqs.md section 3, recomputed GMACs.
        let widths = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0];
        let table = [
            ("resnet18", widths, [".4864", "1.0499", "1.8269", "2.8175", "4.0217", "7.0706"]),
            ("resnet50", widths, ["1.0523", "2.3227", "4.0892", "6.3518", "9.1106", "16.117"]),
            ("mobilenet_v2", [0.25, 0.5, 1.0, 1.4, 2.0, 2.0], [".0372", ".0971", ".3008", ".5822", "1.1374", "1.1374"]),
        ];
        for (name, widths, row) in table {
            for (width, printed) in widths.into_iter().zip(row) {
                let spec = ModelSpec { width, ..model(name) };
                let gmacs = costs(&spec, Convention::Fliqs, |_, _| Format::Int(4)).macs as f64 / 1e9;
                let printed = if printed.starts_with('.') { format!("0{printed}") } else { printed.to_owned() };
                assert!(prints_as(gmacs, &printed), "{name} at width {width}: {gmacs}, expected {printed}");
            }
        }
    }

    #[test]
    fn transformers_cost_what_fliqs_counts_and_in_full_the_products_of_attention_too() {
        // fliqs.md section 3: DeiT with 288, 384, 576, 672 and 768 features.
        for (width, printed) in [(0.75, "2.397"), (1.0, "4.241"), (1.5, "9.499"), (1.75, "12.912"), (2.0, "16.849")] {
            let spec = ModelSpec { width, ..model("deit_small") };
            let gmacs = costs(&spec, Convention::Fliqs, |_, _| Format::Int(4)).macs as f64 / 1e9;
            assert!(prints_as(gmacs, printed), "width {width}: {gmacs}, expected {printed}");
        }
        // 12 blocks, two products of 197 x 197 tokens over 384 features.
        let at = |convention| costs(&model("deit_small"), convention, |_, _| Format::Int(4));
        assert_eq!(at(Convention::Full).macs - at(Convention::Fliqs).macs, 12 * 2 * 197 * 197 * 384);
        let more = at(Convention::Full).gbops - at(Convention::Fliqs).gbops;
        assert!((more - f64::from(12 * 2 * 197 * 197 * 384) * 16.0 / 1e9).abs() < 1e-9, "{more}");
    }

    #[test]
    fn efficientnet_lite_macs_are_the_published_ones_but_for_batch_norm() {
        // TensorFlow's table prints 407, 631, 899, 1440 and 2640 million: its profiler counts batch norms, not folded,
        // as 3 multiply-adds an element. The bound is half of the last printed digit and what else it may have counted.
        let published = [407.0, 631.0, 899.0, 1440.0, 2640.0];
        let exact = [385_187_552, 600_185_232, 859_736_272, 1_383_321_872, 2_553_034_336];
        for (scale, (published, exact)) in published.into_iter().zip(exact).enumerate() {
            let spec = model(&format!("efficientnet_lite{scale}"));
            let macs = costs(&spec, Convention::Fliqs, |_, _| Format::Int(4)).macs;
            assert_eq!(macs, exact, "{scale}");
            let network = build(&spec).unwrap();
            let normalised = network.layers.iter().filter(|layer| layer.norm.is_some());
            let elements: usize = normalised.map(|layer| layer.output.elements()).sum();
            let counted = (macs + 3 * elements as u64) as f64 / 1e6;
            assert!((counted / published - 1.0).abs() < 0.005, "{scale}: {counted}");
        }
    }

    #[test]
    fn fliqs_bit_operations_are_the_papers() {
        // fliqs.md 5.2: ResNet-18 at width 1: E2M1 29.23, E4M3 116.9 (the authors' sums differ in the fourth digit).
        let at = |name: &str| costs(&model("resnet18"), Convention::Fliqs, |_, _| name.parse().unwrap()).gbops;
        assert!((at("fp4") - 29.23).abs() < 0.01 && (at("fp8") - 116.9).abs() < 0.05);
    }

    #[test]
    fn full_costs_are_hawq_v3s() {
        let int8 = |name: &str| costs(&model(name), Convention::Full, |_, _| Format::Int(8));
        let ends = |name: &str| {
            let mixed = |rank, count| if rank == 0 || rank + 1 == count { Format::Int(8) } else { Format::Int(4) };
            costs(&model(name), Convention::Full, mixed).gbops
        };
        assert!(prints_as(int8("resnet18").macs as f64 / 1e9, "1.8141"));
        assert!(prints_as(int8("resnet18").gbops, "116.1"));
        assert!(prints_as(int8("resnet50_v1").gbops, "246.9"));
        assert!(prints_as(ends("resnet50_v1"), "67.5"), "{}", ends("resnet50_v1"));
        assert!(prints_as(ends("resnet18"), "34.7"), "{}", ends("resnet18"));
        let float = costs(&model("resnet18"), Convention::Full, |_, _| Format::Float32);
        assert!(prints_as(float.gbops, "1858"), "{}", float.gbops);
    }

    #[test]
    fn sizes_are_hawq_v3s() {
        let ends = |rank, count| if rank == 0 || rank + 1 == count { Format::Int(8) } else { Format::Int(4) };
        let printed = [
            ("resnet18", with_formats(&model("resnet18"), |_, _| Format::Float32), "44.6"),
            ("resnet18", with_formats(&model("resnet18"), |_, _| Format::Int(8)), "11.1"),
            ("resnet18", with_formats(&model("resnet18"), ends), "5.8"),
            ("resnet50_v1", with_formats(&model("resnet50_v1"), ends), "13.1"),
            // HAWQ-V3 prints 24.5, a hundredth more than its weights take.
            ("resnet50_v1", with_formats(&model("resnet50_v1"), |_, _| Format::Int(8)), "24.3"),
        ];
        for (name, network, expected) in printed {
            let found = codes_mib(&network);
            assert!(prints_as(found, expected), "{name}: {found}, not {expected}");
        }
    }

    #[test]
    fn the_tensorflow_form_costs_the_same_under_both_conventions() {
        let tf = ModelSpec { tf_form: true, ..model("resnet18") };
        let at = |spec: &ModelSpec, convention| costs(spec, convention, |_, _| Format::Int(4));
        assert_eq!(at(&tf, Convention::Full), at(&tf, Convention::Fliqs));
        assert_eq!(at(&model("resnet18"), Convention::Fliqs), at(&tf, Convention::Full));
        // 64 * 64 * 56 * 56 multiplications more.
        assert_eq!(at(&tf, Convention::Full).macs - at(&model("resnet18"), Convention::Full).macs, 12_845_056);
        assert_eq!(at(&model("resnet20"), Convention::Fliqs), at(&model("resnet20"), Convention::Full));
    }

    #[test]
    fn a_tiny_networks_costs_by_hand() {
        // ResNet-8 at width 1/8: 2, 4, 8 channels; 8x8 input, 1 channel, 2 classes; stem and last layer int8, rest int4.
        let spec =
            ModelSpec { width: 0.125, resolution: Some(8), channels: Some(1), classes: Some(2), ..model("resnet8") };
        let costs = costs(&spec, Convention::Full, |rank, count| {
            if rank == 0 || rank + 1 == count { Format::Int(8) } else { Format::Int(4) }
        });
        // Multiplications: stem 64*9*2 = 1152 at 8x8 bits; stage 1: 2 * 64*2*18 = 4608; stage 2 on 4x4: 16*4*18 = 1152
        // and 16*4*36 = 2304; stage 3 on 2x2: 4*8*36 = 1152 and 4*8*72 = 2304; linear 8*2 = 16 at 8x8 bits.
        assert_eq!(costs.macs, 1152 + 4608 + 1152 + 2304 + 1152 + 2304 + 16);
        let bops = (1152 + 16) * 64 + (4608 + 1152 + 2304 + 1152 + 2304) * 16;
        assert!((costs.gbops * 1e9 - f64::from(bops)).abs() < 1e-3);
        // Code bytes, rows aligned: stem 2*9; stage 1: 2 * 2*(18*4/8 = 9); stage 2: 4*9 and 4*18; stage 3: 8*18, 8*36;
        // linear 2*8. A float32 scale and bias each for 2+2+2+4+4+8+8+2 = 32 channels. Activation scales: input, stem,
        // and in each block the inner tensor, the branch and the sum, then the pool: 2 + 9 + 1 = 12.
        let codes = 18 + 2 * 18 + 36 + 72 + 144 + 288 + 16;
        let bytes = codes + 32 * 8 + 12 * 4;
        assert!((costs.size_mb * 1e6 - f64::from(bytes)).abs() < 1e-6);
        // Peak: in block 1, at conv1 the stem's 2x8x8 at 4 bits (64 bytes) and the inner 64; at conv2 the skip 64, inner
        // 64 and branch 64 = 192; at the add skip, branch and sum = 192. The stem: input 64 at 8 bits and 64 = 128.
        assert!((costs.act_mem_kb - 0.192).abs() < 1e-12);
        // Weights: 18 stem + 16 linear at 8 bits; 36+36+72+144+288+576 = 1152 at 4.
        let average = f64::from(34 * 8 + 1152 * 4) / f64::from(34 + 1152);
        assert!((costs.avg_w_bits - average).abs() < 1e-12);
        // Elements at 8 bits: input 64, last sum 32, pool 8; at 4: stem 128, block 1 3*128, block 2 3*64, block 3 2*32.
        let average = f64::from(104 * 8 + 768 * 4) / f64::from(104 + 768);
        assert!((costs.avg_a_bits - average).abs() < 1e-12);
    }
}
