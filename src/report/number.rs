//! Numbers as tables and pictures show them.

/// `value` with three significant digits and no exponent; whole numbers of four digits and more keep them all.
pub(super) fn three_digits(value: f64) -> String {
    let exponent = format!("{value:.2e}").split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    let decimals = exponent.map_or(0, |exponent| usize::try_from(2 - exponent).unwrap_or(0));
    // Zero and what is not finite need no digits at all.
    let decimals = if value.abs() > 0.0 { decimals } else { 0 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_whatever_the_size() {
        let shown = [0.041_23, 0.9996, 1.0, 12.345, 99.96, 123.4, 12_345.6, 0.000_012_34, 0.0, -2.5].map(three_digits);
        assert_eq!(shown, ["0.0412", "1.00", "1.00", "12.3", "100", "123", "12346", "0.0000123", "0", "-2.50"]);
        assert_eq!(three_digits(f64::NAN), "NaN");
        assert_eq!(three_digits(f64::INFINITY), "inf");
    }
}
