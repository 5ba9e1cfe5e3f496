//! Learning rate over a run: a short linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017).

/// Share of the steps that warm up.
const WARM_UP: f64 = 0.05;

/// Learning rate at `step` of `total`, with its highest value `peak`.
pub fn cosine(peak: f64, step: usize, total: usize) -> f64 {
    let done = (step as f64 + 0.5) / total.max(1) as f64;
    if done < WARM_UP {
        peak * done / WARM_UP
    } else {
        let rest = ((done - WARM_UP) / (1.0 - WARM_UP)).min(1.0);
        peak * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_ends_near_zero() {
        let rates: Vec<f64> = (0..1000).map(|step| cosine(0.1, step, 1000)).collect();
        // Half of the warm-up: step 24.5 of 50 steps gives 0.49 of the peak.
        assert!((rates[24] - 0.049).abs() < 1e-12);
        assert!(rates[50] > 0.0999 && rates[999] < 1e-6);
        // Half of the cosine: cos(pi / 2) = 0.
        assert!((cosine(0.1, 524, 1000) - 0.05).abs() < 2e-4);
        assert!(rates[50..].windows(2).all(|pair| pair[1] < pair[0]));
    }
}
