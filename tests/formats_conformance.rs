//! Rounding agrees with ml_dtypes on every float16 and bfloat16 pattern (`fixtures/formats/make.py`).

use std::io::Read;

use bitfront::formats::{Format, round_to_grid};

/// Formats in the order of the fixture; the last two have codes of two bytes.
const FORMATS: [&str; 12] = [
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e3m4",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "int4",
    "uint4",
    "int2",
    "uint2",
    "float16",
    "bfloat16",
];

/// The inputs that `make.py` describes.
fn inputs() -> Vec<f32> {
    let finite = |x: &f32| x.is_finite();
    let half = (0..=u16::MAX).map(|pattern| half::f16::from_bits(pattern).to_f32()).filter(finite);
    let brain = (0..=u16::MAX).map(|pattern| half::bf16::from_bits(pattern).to_f32()).filter(finite);
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mixed = std::iter::successors(Some(1_u32), next).map(f32::from_bits).filter(finite).take(8192);
    half.chain(brain).chain(mixed).collect()
}

fn fixture() -> Vec<u8> {
    let packed = include_bytes!("fixtures/formats/codes.bin.gz");
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut content).expect("the fixture unpacks");
    content
}

#[test]
fn casts_and_codes_have_no_mismatch_with_ml_dtypes() {
    let inputs = inputs();
    let content = fixture();
    let mut at = 0;
    for name in FORMATS {
        let format: Format = name.parse().expect("a known format");
        let width = if format.bits() > 8 { 2 } else { 1 };
        let expected: Vec<u32> = content[at..at + width * inputs.len()]
            .chunks(width)
            .map(|bytes| bytes.iter().rev().fold(0, |code, &byte| (code << 8) | u32::from(byte)))
            .collect();
        at += width * inputs.len();
        let mut rounded = inputs.clone();
        round_to_grid(format, &mut rounded);
        for ((&x, &code), &fast) in inputs.iter().zip(&expected).zip(&rounded) {
            assert_eq!(format.encode(x), code, "{name}: {x:e} gave {}", format.cast(x));
            let value = format.decode(code) as f32;
            assert_eq!(format.cast(x).to_bits(), value.to_bits(), "{name}: {x:e}");
            assert_eq!(fast.to_bits(), value.to_bits(), "{name}: {x:e}, fast loop");
        }
    }
    assert_eq!(at, content.len(), "the fixture is used up");
}
