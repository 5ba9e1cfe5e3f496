//! Formats of one width that share it differently between exponent and mantissa, and what a real-valued exponent bias says.

use super::{Format, MiniFloat};

/// Names of the papers' grids, in which every code is a finite number, end so.
const ALL_FINITE: &str = "_allfinite";

impl Format {
    /// The formats of the same kind and width, this one first: the ways to split a small float's bits between exponent and
    /// mantissa. The papers' grids stay among themselves. Integers and wide floats have one flavour.
    pub fn flavours(self) -> Vec<Self> {
        let alike = |other: &Self| {
            matches!((self, other), (Self::Mini(_), Self::Mini(_)))
                && *other != self
                && other.bits() == self.bits()
                && other.name().ends_with(ALL_FINITE) == self.name().ends_with(ALL_FINITE)
        };
        std::iter::once(self).chain(Self::all().into_iter().filter(alike)).collect()
    }
}

impl MiniFloat {
    /// The real-valued exponent bias under which the largest value is `clip` (above 0): scale and bias are one number
    /// (Liu et al. 2023, LLM-FP4, arXiv 2310.16836, section 3.1).
    pub fn bias_for(self, clip: f64) -> f64 {
        f64::from(self.bias) + (self.max() / clip).log2()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "powers of two are exact")]
mod tests {
    use super::*;

    fn mini(name: &str) -> MiniFloat {
        match name.parse::<Format>().unwrap() {
            Format::Mini(mini) => mini,
            other => panic!("{other} is no small float"),
        }
    }

    #[test]
    fn flavours_keep_kind_and_width() {
        let names = |name: &str| -> Vec<&str> {
            name.parse::<Format>().unwrap().flavours().into_iter().map(Format::name).collect()
        };
        assert_eq!(names("fp4"), ["float4_e2m1fn", "float4_e1m2", "float4_e3m0"]);
        assert_eq!(names("e3m0"), ["float4_e3m0", "float4_e2m1fn", "float4_e1m2"]);
        assert_eq!(names("fp8"), ["float8_e4m3fn", "float8_e5m2", "float8_e3m4", "float8_e2m5"]);
        assert_eq!(names("e4m3_allfinite"), ["e4m3_allfinite", "e5m2_allfinite", "e3m4_allfinite"]);
        assert_eq!(names("int4"), ["int4"]);
        assert_eq!(names("float16"), ["float16"]);
    }

    #[test]
    fn the_bias_of_a_clip_is_the_papers() {
        assert_eq!(mini("e2m1").bias_for(6.0), 1.0);
        assert_eq!(mini("e4m3_allfinite").bias_for(480.0), 7.0);
        // Their formula, for grids whose codes are all finite: 2^e - log2 Qmax + log2(2 - 2^-m) - 1.
        for name in ["e2m1", "e1m2", "e3m0", "e2m5", "e4m3_allfinite", "e5m2_allfinite", "e3m4_allfinite", "e3m2"] {
            let mini = mini(name);
            let (e, m) = (f64::from(mini.exponent), f64::from(mini.mantissa));
            for clip in [0.01, 6.0, 12.0, 700.0] {
                let theirs = e.exp2() - f64::log2(clip) + (2.0 - (-m).exp2()).log2() - 1.0;
                assert!((mini.bias_for(clip) - theirs).abs() < 1e-12, "{name} {clip}");
            }
        }
    }
}
