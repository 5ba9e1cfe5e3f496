//! This machine: its processor, and keeping to one core of it.

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

/// Keeps this thread on one core, the last one: the first serves interrupts on many machines.
pub fn pin_thread() -> bool {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.last().is_some_and(|core| core_affinity::set_for_current(*core))
}
