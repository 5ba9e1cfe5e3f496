//! This machine: its processor, and keeping to one core of it.

use crate::error::{Error, Result};

/// Name of this processor, with what matters to integer kernels.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|known| known == flag);
    let best = [("amx_int8", "AMX"), ("avx512_vnni", "AVX512-VNNI"), ("avx_vnni", "AVX-VNNI"), ("avx512f", "AVX512")];
    let best = best.iter().chain(&[("avx2", "AVX2"), ("asimddp", "dot products")]).find(|(flag, _)| has(flag));
    best.map_or(name.clone(), |(_, words)| format!("{name}, {words}"))
}

/// Does `work` on a thread of its own that stays on one core, the last one: the first serves interrupts on many machines. Where the
/// system has no such thing it runs on any.
///
/// # Errors
/// The thread ended early.
pub fn pinned<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    let on_its_core = || {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let _ = cores.last().map(|core| core_affinity::set_for_current(*core));
        work()
    };
    std::thread::scope(|scope| scope.spawn(on_its_core).join())
        .map_err(|_| Error::Failed("the measuring thread ended early".into()))
}
