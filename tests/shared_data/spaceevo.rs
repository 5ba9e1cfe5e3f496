//! SpaceEvo's published tables of blocks (342,000 sub-stages) and what its authors found in them; the numbers are those of
//! research/spaceevo.md 5.3 and 8.1.

use std::path::PathBuf;
use std::process::Command;

use bitfront::cost::latency::BlockTable;
use bitfront::cost::{Convention, Costs};
use bitfront::genome::Genome;
use bitfront::search::{QtScorer, QtSettings};
use bitfront::seed::Seed;
use bitfront::space::Hyperspace;

use super::shared;

fn table(name: &str) -> Option<(PathBuf, Hyperspace)> {
    Some((shared(&format!("spaceevo/block_lut/{name}"))?, Hyperspace::shipped(name).unwrap()))
}

fn scorer(name: &str, budgets_ms: &[f32]) -> Option<(QtScorer, Hyperspace)> {
    let (folder, space) = table(name)?;
    let windows = space.stages.iter().map(|stage| stage.windows()).collect();
    let settings = QtSettings { budgets_ms: budgets_ms.to_vec(), ..QtSettings::default() };
    Some((QtScorer::new(&BlockTable::load(&folder, &space).unwrap(), windows, settings, Seed::new(0)).unwrap(), space))
}

#[test]
fn multiplications_of_all_342_000_rows_are_the_tables() {
    for (name, rows) in [("mobilew", 210_000), ("onnxw", 132_000)] {
        let Some((folder, space)) = table(name) else { return };
        assert_eq!(BlockTable::verify_macs(&folder, &space).unwrap(), rows, "{name}");
    }
}

#[test]
fn the_published_networks_have_their_multiplications() {
    let Some(file) = shared("spaceevo/search_result.yaml") else { return };
    let text = std::fs::read_to_string(file).unwrap();
    // MMACs of table 8.1, and million parameters, which it has within 1.3 %.
    let expected = [
        ("pixel4-A0", 112.9, 6.38),
        ("pixel4-A1", 274.0, 9.71),
        ("pixel4-A2", 398.9, 10.01),
        ("pixel4-A3", 591.2, 13.88),
        ("pixel4-A4", 738.1, 15.30),
        ("vnni-A0", 163.5, 7.80),
        ("vnni-A1", 358.2, 11.96),
        ("vnni-A2", 638.3, 14.52),
        ("vnni-A3", 981.5, 15.93),
        ("vnni-A4", 1383.1, 23.37),
    ];
    for (name, mmacs, mparams) in expected {
        let own = &text[text.find(&format!("SEQnet@{name}:")).unwrap()..];
        let code = own[own.find("'d1#").unwrap() + 1..].split('\'').next().unwrap();
        let (space, code_of_space) =
            if name.starts_with("pixel4") { ("mobilew", "122222-155400") } else { ("onnxw", "151122-023231") };
        let space = Hyperspace::shipped(space).unwrap();
        let network = space.subnet(&space.parse_code(code_of_space).unwrap(), code).unwrap();
        let counted = Costs::of(&network, Convention::Full).macs as f64 / 1e6;
        assert!((counted - mmacs).abs() <= 0.0501, "{name}: {counted} MMACs, published {mmacs}");
        let parameters = network.parameter_count() as f64 / 1e6;
        assert!((parameters / mparams - 1.0).abs() < 0.02, "{name}: {parameters} million parameters, table {mparams}");
    }
}

#[test]
fn scores_are_the_reference_ones() {
    for (name, budgets, code, expected) in [
        ("onnxw", [10.0, 15.0], "151122-023231", 0.803),
        ("onnxw", [15.0, 20.0], "121122-133333", 0.875),
        ("mobilew", [25.0, 30.0], "122222-155400", 0.830),
    ] {
        let Some((scorer, space)) = scorer(name, &budgets) else { return };
        let score = scorer.mean_score(&Genome::from(&space.parse_code(code).unwrap()), 10).score;
        assert!((score - expected).abs() < 0.005, "{name} {code}: {score}, expected {expected}");
    }
}

#[test]
fn losses_and_shares_are_the_reference_ones() {
    // (share; loss) at a budget, and the losses of uniform spaces in window 0.
    let Some((onnx, space)) = scorer("onnxw", &[10.0, 15.0, 20.0, 25.0]) else { return };
    let scored = onnx.mean_score(&Genome::from(&space.parse_code("151122-023231").unwrap()), 10);
    for (budget, (share, loss)) in
        scored.budgets.iter().zip([(0.0008, 2.545), (0.090, 2.352), (0.373, 2.292), (0.647, 2.259)])
    {
        // 200 resolutions are drawn, 67 +- 7 of each, which moves shares by a tenth; a loss at a share of 0.0008 is the mean
        // of more than half of the networks in the budget.
        assert!((budget.share - share).abs() < 0.0004 + 0.2 * share, "{budget:?}, expected {share}");
        let margin = if share < 0.001 { 0.04 } else { 0.015 };
        assert!((budget.loss.unwrap() - loss).abs() < margin, "{budget:?}, expected {loss}");
    }
    for (kind, loss) in [(0, 3.47), (1, 3.03), (3, 3.08), (4, 3.03), (5, 2.82)] {
        let uniform = onnx.score(&Genome(vec![kind, kind, kind, kind, kind, kind, 0, 0, 0, 0, 0, 0]), 0);
        let found = uniform.budgets[1].loss.unwrap();
        assert!((found - loss).abs() < 0.02, "block type {kind}: {found}, expected {loss}");
    }
    let Some((mobile, _)) = scorer("mobilew", &[25.0]) else { return };
    for (kind, loss) in [(0, 3.44), (1, 2.91), (2, 2.77), (3, 3.24), (4, 3.00), (5, 2.96), (6, 3.02)] {
        let uniform = mobile.score(&Genome(vec![kind, kind, kind, kind, kind, kind, 0, 0, 0, 0, 0, 0]), 0);
        let found = uniform.budgets[0].loss.unwrap();
        assert!((found - loss).abs() < 0.02, "block type {kind}: {found}, expected {loss}");
    }
}

/// The code of the best space that the command finds, and its score.
fn best(name: &str, budgets: [&str; 2], seed: &str) -> Option<(String, f64)> {
    let folder = shared(&format!("spaceevo/block_lut/{name}"))?;
    let output = Command::new(env!("CARGO_BIN_EXE_bitfront"))
        .args(["evolve-space", "--lut", folder.to_str().unwrap(), "--json", "--quiet", "--seed", seed])
        .args(["--budget-ms", budgets[0], "--budget-ms", budgets[1]])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let spaces = found["spaces"].as_array().unwrap();
    let score = |space: &serde_json::Value| space["score"].as_f64().unwrap();
    assert!(spaces.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])) && spaces.len() == 50);
    Some((spaces[0]["code"].as_str().unwrap().to_owned(), score(&spaces[0])))
}

#[test]
fn the_search_lands_on_the_released_block_types() {
    let Some((code, score)) = best("mobilew", ["25", "30"], "1") else { return };
    assert!(code.starts_with("122222-") && (score - 0.830).abs() < 0.006, "{code} {score}");
    let Some((code, score)) = best("onnxw", ["15", "20"], "1") else { return };
    assert!(code.starts_with("121122-") && (score - 0.880).abs() < 0.006, "{code} {score}");
    let Some((code, score)) = best("onnxw", ["10", "15"], "1") else { return };
    let known = ["151122-", "151121-", "131122-"].iter().any(|blocks| code.starts_with(blocks));
    assert!(known && (score - 0.806).abs() < 0.006, "{code} {score}");
}
