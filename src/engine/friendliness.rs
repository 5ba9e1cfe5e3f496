//! How well a candidate takes to quantization, as points beside its accuracy: the Q-T score's idea inside a search of networks
//! (SpaceEvo, arXiv 2303.08308, scores spaces by noise under a latency).
//!
//! The noise is that of the quantized network's logits against the same network in float32, over the calibration images; half
//! its negative base-2 logarithm is the number of clean bits. The speed-up over float32 counts in doublings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{JudgingImages, Trained};
use crate::cost::Pricing;
use crate::error::{Error, Result};
use crate::models::Folded;
use crate::network::Network;

/// What counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FriendlyForm {
    /// Clean bits of the logits.
    #[default]
    Noise,
    /// Doublings of speed over float32 on the target.
    Speedup,
    /// Their sum.
    Both,
}

const FORMS: [(FriendlyForm, &str); 3] =
    [(FriendlyForm::Noise, "noise"), (FriendlyForm::Speedup, "speedup"), (FriendlyForm::Both, "both")];

impl fmt::Display for FriendlyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(FORMS.iter().find(|(form, _)| form == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for FriendlyForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = FORMS.iter().find(|(_, name)| *name == text).map(|(form, _)| *form);
        found.ok_or_else(|| Error::unknown_name("--friendly-form", text, FORMS.iter().map(|(_, name)| *name)))
    }
}

/// The term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Friendliness {
    /// Points of top-1 that a bit, or a doubling, is worth.
    pub weight: f64,
    /// What counts.
    pub form: FriendlyForm,
}

/// Bits beyond which noise does not matter: those of a float32's fraction.
const MOST_BITS: f64 = 24.0;

impl Friendliness {
    /// Refuses a weight that is no number of points, and a speed-up without a target.
    ///
    /// # Errors
    /// The option by its name.
    pub fn check(&self, has_target: bool) -> Result<()> {
        if !(self.weight > 0.0 && self.weight <= 100.0) {
            return Err(Error::bad_value("--friendliness", self.weight, "points above 0, at most 100"));
        }
        if self.form != FriendlyForm::Noise && !has_target {
            return Err(Error::bad_value("--friendly-form", self.form, "needs --target: a speed-up is of a device"));
        }
        Ok(())
    }

    /// Points of a candidate that is `ready`.
    ///
    /// # Errors
    /// The target has nothing like one of the network's kernels.
    pub(super) fn points(
        &self,
        network: &Network,
        ready: &Folded,
        (trained, images): (&Trained, &JudgingImages),
        pricing: &Pricing,
    ) -> Result<f64> {
        let float = network.in_float();
        let bits = || {
            let float = trained.ready(&float, images);
            let logits = |ready: &Folded| {
                let all: Vec<Tensor> = images.calibration().into_iter().map(|x| ready.logits(x)).collect();
                Tensor::cat(&all, 0)
            };
            clean_bits(&logits(ready), &logits(&float))
        };
        let doublings = || -> Result<f64> {
            let time = |network: &Network| Ok(pricing.latency(network)?.unwrap_or(1.0));
            Ok((time(&float)? / time(network)?).log2())
        };
        Ok(self.weight
            * match self.form {
                FriendlyForm::Noise => bits(),
                FriendlyForm::Speedup => doublings()?,
                FriendlyForm::Both => bits() + doublings()?,
            })
    }
}

/// Half the base-2 logarithm of signal over noise: 0 where they are equal, one more with every halving of the error.
///
/// # Shapes
/// `[n, classes]`, both.
fn clean_bits(quantized: &Tensor, float: &Tensor) -> f64 {
    let noise = (quantized - float).square().mean(Kind::Double).double_value(&[]);
    let signal = float.to_kind(Kind::Double).var(false).double_value(&[]);
    if noise <= 0.0 {
        return MOST_BITS;
    }
    (0.5 * (signal / noise).max(1e-12).log2()).min(MOST_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_deviation_as_error_leaves_two_bits() {
        // Values 0 to 3: variance 1.25; an error of a quarter of the deviation everywhere.
        let float = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 3.0]).view([2, 2]);
        let off = 1.25_f64.sqrt() / 4.0;
        assert!((clean_bits(&(&float + off), &float) - 2.0).abs() < 1e-5);
        assert!((clean_bits(&(&float + off / 2.0), &float) - 3.0).abs() < 1e-5);
        assert!((clean_bits(&float, &float) - MOST_BITS).abs() < 1e-12);
    }

    #[test]
    fn a_speed_up_needs_a_device() {
        let of = |form, weight| Friendliness { weight, form };
        assert!(of(FriendlyForm::Noise, 1.0).check(false).is_ok() && of(FriendlyForm::Both, 1.0).check(true).is_ok());
        assert!(of(FriendlyForm::Speedup, 1.0).check(false).unwrap_err().to_string().contains("--target"));
        assert!(of(FriendlyForm::Noise, 0.0).check(false).unwrap_err().to_string().contains("--friendliness"));
        assert_eq!("both".parse::<FriendlyForm>().unwrap(), FriendlyForm::Both);
    }
}
