//! `bitfront formats law`: what the scaling law of low-precision training says of float layouts.

use clap::Args;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::formats::{Split, best_bits};
use crate::report::markdown_table;

/// A language model and its training, as the law has them.
#[derive(Args, Clone, Debug)]
pub struct LawArgs {
    /// Parameters of the model
    #[arg(long, value_name = "N", default_value_t = 1e9)]
    pub parameters: f64,
    /// Tokens that it is trained on
    #[arg(long, value_name = "N", default_value_t = 1e12)]
    pub tokens: f64,
    /// Channels that share a scale
    #[arg(long, value_name = "N", default_value_t = 128.0)]
    pub block: f64,
}

/// Widths that the paper prints layouts for.
const WIDTHS: std::ops::RangeInclusive<u32> = 2..=16;

impl LawArgs {
    fn check(&self) -> Result<()> {
        let options = [("--parameters", self.parameters), ("--tokens", self.tokens), ("--block", self.block)];
        let wrong = options.into_iter().find(|(_, value)| !(value.is_finite() && *value > 1.0));
        wrong.map_or(Ok(()), |(option, value)| Err(Error::bad_value(option, value, "must be a number above 1")))
    }

    /// The law's numbers as one object.
    ///
    /// # Errors
    /// A value that is not above 1.
    pub fn json(&self) -> Result<Value> {
        self.check()?;
        let row = |bits: u32| {
            let splits: Vec<Value> = Split::ranked(bits).into_iter().map(|split| self.split(split)).collect();
            json!({ "bits": bits, "splits": splits })
        };
        let widths: Vec<Value> = WIDTHS.map(row).collect();
        Ok(json!({
            "parameters": self.parameters, "tokens": self.tokens, "block": self.block,
            "best_bits": best_bits(self.tokens, self.block), "widths": widths,
        }))
    }

    fn split(&self, split: Split) -> Value {
        let critical = split.critical_tokens(self.parameters, self.block);
        json!({ "split": split.to_string(), "strength": split.strength(), "critical_tokens": critical })
    }

    /// The law's numbers for people, 80 columns wide.
    ///
    /// # Errors
    /// As [`LawArgs::json`].
    pub fn text(&self) -> Result<String> {
        self.check()?;
        let row = |bits: u32| {
            let ranked = Split::ranked(bits);
            let best = ranked.first()?;
            let others: Vec<String> = ranked.iter().skip(1).take(3).map(Split::to_string).collect();
            let critical = best.critical_tokens(self.parameters, self.block);
            Some(vec![
                bits.to_string(),
                best.to_string(),
                format!("{:.4e}", best.strength()),
                format!("{critical:.3e}"),
                others.join(" > "),
            ])
        };
        let rows: Vec<Vec<String>> = WIDTHS.filter_map(row).collect();
        let table = markdown_table(&["bits", "best", "K(E,M)", "critical tokens", "then"], &rows);
        Ok(format!(
            "Float layouts by the scaling law of low-precision training (arXiv 2501.02423),\n\
             {:e} parameters, a scale for every {} channels\n\n{table}\n\
             Best width for {:e} tokens: {:.2} bits. Beyond its critical tokens a layout makes\n\
             a language model worse. The law is no word on integers, nor on classifiers.",
            self.parameters,
            self.block,
            self.tokens,
            best_bits(self.tokens, self.block)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_and_the_object_has_every_split() {
        let args = LawArgs { parameters: 1e9, tokens: 1e12, block: 128.0 };
        let text = args.text().unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("E4M3") && text.contains("5.18 bits"), "{text}");
        let found = args.json().unwrap();
        let splits: usize =
            found["widths"].as_array().unwrap().iter().map(|row| row["splits"].as_array().unwrap().len()).sum();
        assert_eq!(splits, (1..=15).sum::<usize>());
        assert!(LawArgs { block: 1.0, ..args }.text().unwrap_err().to_string().contains("--block"));
    }
}
