//! The rules of the source tree: imports point down the floors, files are short, every test file runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Every top-level module and its floor (`src/lib.rs` explains them). A module may use lower floors only; `error` lies
/// below all of them.
const FLOORS: [(&str, u8); 30] = [
    ("atomic", 0),
    ("error", 0),
    ("genome", 0),
    ("interrupt", 0),
    ("progress", 0),
    ("ron_text", 0),
    ("seed", 0),
    ("stats", 0),
    ("checkpoint", 1),
    ("formats", 1),
    ("pareto", 1),
    ("network", 2),
    ("space", 3),
    ("cost", 4),
    ("data", 4),
    ("quant", 4),
    ("stored", 4),
    ("layers", 5),
    ("onnx", 5),
    ("optim", 5),
    ("search", 5),
    ("models", 6),
    ("profile", 6),
    ("ptq", 7),
    ("train", 7),
    ("engine", 8),
    ("export", 8),
    ("report", 8),
    ("reproduce", 8),
    ("cli", 9),
];

/// Modules that may use tch; `cli` asks it for the version and the devices (`doctor`).
const WITH_TCH: [&str; 10] = ["cli", "data", "engine", "export", "layers", "models", "optim", "ptq", "quant", "train"];

/// The one file with `unsafe`: the fake-quantization kernel rewrites a tensor's memory.
const UNSAFE_FILE: &str = "quant/kernel.rs";

const LONGEST_FILE: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A source file below `src/`, without comment lines.
struct Source {
    /// Path below `src/`, with `/`.
    name: String,
    /// (line number from 1, code before any `//`).
    code: Vec<(usize, String)>,
}

impl Source {
    fn all() -> Vec<Self> {
        let src = root().join("src");
        let read = |path: PathBuf| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            Self { name, code: code_lines(&fs::read_to_string(&path).unwrap()) }
        };
        rust_files(&src).into_iter().map(read).collect()
    }

    /// The top-level module the file belongs to; `None` for `lib.rs` and `main.rs`, which stand above the floors.
    fn module(&self) -> Option<&str> {
        let first = self.name.split('/').next().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        (module != "lib" && module != "main").then_some(module)
    }
}

fn code_lines(text: &str) -> Vec<(usize, String)> {
    let code = |line: &str| line.split("//").next().unwrap_or("").to_string();
    text.lines().enumerate().map(|(index, line)| (index + 1, code(line))).collect()
}

/// The first name after each `crate::` in a line of code.
fn crate_paths(code: &str) -> Vec<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    code.split("crate::").skip(1).map(name).collect()
}

/// Whether `word` stands in `code` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|token| token == word)
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// What is wrong with `module` naming `crate::target`, if anything.
fn climb(module: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some("`use crate::{...}` groups hide what is imported".to_string());
    }
    if target == module || target == "error" {
        return None;
    }
    match (floor(module), floor(target)) {
        (_, None) => Some(format!("`{target}` has no floor")),
        (Some(own), Some(below)) if below < own => None,
        (own, Some(below)) => Some(format!("`{module}` (floor {own:?}) uses `{target}` (floor {below})")),
    }
}

/// All offences as `file:line: what`.
fn offences(check: impl Fn(&Source, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for source in Source::all() {
        for (line, code) in &source.code {
            if let Some(what) = check(&source, code) {
                found.push(format!("src/{}:{line}: {what}", source.name));
            }
        }
    }
    found
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let modules: BTreeSet<String> =
        Source::all().iter().filter_map(|source| source.module().map(str::to_string)).collect();
    let homeless: Vec<String> = modules.into_iter().filter(|module| floor(module).is_none()).collect();
    assert_none(&homeless);
}

#[test]
fn imports_point_down_the_floors() {
    assert_none(&offences(|source, code| {
        let module = source.module()?;
        crate_paths(code).iter().find_map(|target| climb(module, target))
    }));
}

#[test]
fn no_module_climbs_by_super_super() {
    assert_none(&offences(|_, code| {
        code.contains("super::super::").then(|| "name the module from `crate::`".to_string())
    }));
}

#[test]
fn only_tensor_modules_use_tch() {
    assert_none(&offences(|source, code| {
        let module = source.module()?;
        (has_word(code, "tch") && !WITH_TCH.contains(&module)).then(|| format!("`{module}` uses tch"))
    }));
}

#[test]
fn unsafe_stays_in_the_kernel() {
    assert_none(&offences(|source, code| {
        (has_word(code, "unsafe") && source.name != UNSAFE_FILE).then(|| "unsafe outside the kernel".to_string())
    }));
}

#[test]
fn files_are_short() {
    let long = |source: &Source| {
        (source.code.len() > LONGEST_FILE).then(|| format!("src/{}: {} lines", source.name, source.code.len()))
    };
    assert_none(&Source::all().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_test_file_is_listed() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    let missing: Vec<String> = fs::read_dir(root().join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_string())
        .filter(|name| name != "main" && !main.lines().any(|line| line.trim() == format!("mod {name};")))
        .collect();
    assert_none(&missing);
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(crate_paths("use crate::cost::bops; let x = crate::error::Error;"), ["cost", "error"]);
    assert_eq!(crate_paths("use crate::{a, b};"), [""]);
    assert!(climb("formats", "").is_some());
    assert!(climb("formats", "network").is_some());
    assert!(climb("formats", "pareto").is_some());
    assert!(climb("search", "attic").is_some());
    assert!(climb("search", "pareto").is_none());
    assert!(climb("genome", "error").is_none());
    assert!(climb("genome", "seed").is_some());
    assert!(climb("search", "search").is_none());
    assert!(has_word("unsafe { x }", "unsafe") && !has_word("deny(unsafe_code)", "unsafe"));
    assert_eq!(code_lines("a // crate::cli\n//! tch"), [(1, "a ".to_string()), (2, String::new())]);
}
