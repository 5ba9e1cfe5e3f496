"""Puts libtorch, which bitfront links against, and ONNX Runtime, which it loads, into .libtorch/ (idempotent).

The libraries come from wheels on the package index, fetched by pip
with their hashes required. Each finished download is kept in .libtorch/wheels until
everything is unpacked, so an interrupted run continues where it stopped.
On Linux the wheel is the CUDA build: only its CPU libraries are kept,
with the two small NVIDIA wheels that libtorch_cpu.so names as needed.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".libtorch"
WHEELS = HOME / "wheels"
STAMP = HOME / "ready"
VERSION = "2.13.0"
RUNTIME_STAMP = HOME / "onnxruntime"
RUNTIME_VERSION = "1.31.0"

# (requirement, sha256, megabytes, pip platform tag, files below lib/ to keep)
LINUX_X86_64 = [
    ("torch==2.13.0", "796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b", 527,
     "manylinux_2_28_x86_64", ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1"]),
    ("nvidia-cuda-runtime==13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548", 3,
     "manylinux2014_x86_64", ["libcudart.so.13"]),
    ("nvidia-cuda-cupti==13.0.85", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8", 11,
     "manylinux_2_25_x86_64", ["libcupti.so.13"]),
]
# Not tried yet: we have no such machine.
LINUX_ARM64 = [
    ("torch==2.13.0", "572df8be8ffb4599c88cbd6a0726f1f854f4da65d2e3c09f0e2c2283333cd6d4", 427,
     "manylinux_2_28_aarch64",
     ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libarm_compute.so", "libarm_compute_graph.so",
      "libgfortran.so.5", "libnvpl_blas_core.so.0", "libnvpl_blas_lp64_gomp.so.0", "libnvpl_lapack_core.so.0",
      "libnvpl_lapack_lp64_gomp.so.0"]),
    ("nvidia-cuda-runtime==13.0.96", "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55", 3,
     "manylinux2014_aarch64", ["libcudart.so.13"]),
    ("nvidia-cuda-cupti==13.0.85", "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151", 11,
     "manylinux_2_25_aarch64", ["libcupti.so.13"]),
]
MACOS_ARM64 = [
    ("torch==2.13.0", "2fe228aba290d14b9f31b049be550dbd469c3fd3013d7a19705b30454da97027", 111,
     "macosx_14_0_arm64", None),
]
TABLES = {
    ("Linux", "x86_64"): LINUX_X86_64,
    ("Linux", "aarch64"): LINUX_ARM64,
    ("Darwin", "arm64"): MACOS_ARM64,
}
RUNTIMES = {
    ("Linux", "x86_64"): ("onnxruntime==1.31.0", "5e129d6c56abd53e659cb70f00a108d6824086470ff99c2e47a82e5786563db3", 24,
                          "manylinux_2_28_x86_64", "libonnxruntime.so"),
    # Not tried yet: we have no such machines.
    ("Linux", "aarch64"): ("onnxruntime==1.31.0", "35758d7606d578ec5b9d65f6e8a1f488013194c3f6097038a3223cb26d35ef9a", 22,
                           "manylinux_2_28_aarch64", "libonnxruntime.so"),
    ("Darwin", "arm64"): ("onnxruntime==1.31.0", "aaab9b3af536b06ca27ab5e35e3d429c97457ce76cf298af103f687e8b9975c0", 18,
                          "macosx_14_0_arm64", "libonnxruntime.dylib"),
}


def fail(message):
    sys.exit(f"setup: {message}")


def fetch(requirement, sha256, megabytes, tag):
    """Downloads one wheel unless it is there already; returns its path."""
    name = requirement.split("==")[0].replace("-", "_")
    kept = sorted(WHEELS.glob(f"{name}-*.whl"))
    if kept:
        return kept[0]
    print(f"setup: fetching {requirement} ({megabytes} MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                   "--require-hashes", "--python-version", "3.12", "--implementation", "cp",
                   "--platform", tag, "--dest", scratch, "--requirement", str(wanted)]
        if subprocess.run(command).returncode != 0:
            fail(f"could not download {requirement}. A network with the Python package index is needed once;\n"
                 f"       finished downloads are kept, so run `make setup` again. To use a PyTorch of your own\n"
                 f"       instead, set LIBTORCH or LIBTORCH_USE_PYTORCH=1 (see README.md, Install).")
        wheel = next(Path(scratch).glob("*.whl"))
        target = WHEELS / wheel.name
        os.replace(wheel, target)
        return target


def unpack(wheel, keep):
    """Copies headers and the kept libraries of one wheel below .libtorch/."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = member.filename
            if path.endswith("/"):
                continue
            if path.startswith("torch/include/"):
                target = HOME / path[len("torch/"):]
            elif "/lib/" in path and (path.startswith("torch/lib/") or path.startswith("nvidia/")):
                leaf = path.rsplit("/", 1)[1]
                if (keep is not None and leaf not in keep) or "python" in leaf or leaf.endswith(".a"):
                    continue
                target = HOME / "lib" / leaf
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)


def stamped(stamp, version):
    return stamp.exists() and stamp.read_text().strip() == version


def set_up_libtorch(system):
    """The library that bitfront links against, unless the user has one of their own."""
    if any(os.environ.get(name) for name in ("LIBTORCH", "LIBTORCH_USE_PYTORCH")):
        print("setup: LIBTORCH or LIBTORCH_USE_PYTORCH is set, your own PyTorch is used")
        return
    if stamped(STAMP, VERSION):
        return
    table = TABLES.get(system)
    if table is None:
        fail(f"no prebuilt libtorch {VERSION} for {system[0]} {system[1]}; set LIBTORCH to one of your own")
    WHEELS.mkdir(parents=True, exist_ok=True)
    for requirement, sha256, megabytes, tag, keep in table:
        wheel = fetch(requirement, sha256, megabytes, tag)
        print(f"setup: unpacking {wheel.name}", flush=True)
        unpack(wheel, keep)
    shutil.rmtree(WHEELS)
    STAMP.write_text(VERSION + "\n")
    print(f"setup: libtorch {VERSION} is ready in .libtorch/")


def set_up_runtime(system):
    """ONNX Runtime, which `bitfront export` verifies files with; bitfront works without it."""
    entry = RUNTIMES.get(system)
    if stamped(RUNTIME_STAMP, RUNTIME_VERSION) or os.environ.get("ORT_DYLIB_PATH"):
        return
    if entry is None:
        print(f"setup: no prebuilt ONNX Runtime for {system[0]} {system[1]}: exported files will not be verified "
              f"unless ORT_DYLIB_PATH names one of your own")
        return
    requirement, sha256, megabytes, tag, leaf = entry
    WHEELS.mkdir(parents=True, exist_ok=True)
    wheel = fetch(requirement, sha256, megabytes, tag)
    target = HOME / "lib" / leaf
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist()
                      if name.rsplit("/", 1)[-1].startswith(leaf.split(".")[0] + "."))
        with archive.open(member) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    shutil.rmtree(WHEELS)
    RUNTIME_STAMP.write_text(RUNTIME_VERSION + "\n")
    print(f"setup: ONNX Runtime {RUNTIME_VERSION} is ready in .libtorch/")


def main():
    system = (platform.system(), platform.machine())
    set_up_libtorch(system)
    set_up_runtime(system)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        fail(f"{error}. Mend that and run `make setup` again; finished downloads are kept.")
    except KeyboardInterrupt:
        fail("interrupted; finished downloads are kept, run `make setup` again")
