#!/usr/bin/env python3
"""Time of a quantization-aware training step: bitfront's against PyTorch's eager modules, on the same libtorch version.

    python3 benches/eager.py --install        fetches PyTorch (4.7 GB) into .libtorch/eager, once
    python3 benches/eager.py --write results/eager.md

ResNet-20, 128 images of 32x32. PyTorch's network has a FusedMovingAvgObsFakeQuantize module wherever bitfront has a
quantization point, one a channel for weights. Both take turns, block by block; ratios are of each block's medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".libtorch" / "eager"
PYTHON = HOME / "bin" / "python3"
VERSION = "2.13.0"
FORMATS = {"int8": (-128, 127), "int4": (-8, 7)}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="fetch PyTorch first (4.7 GB of disk)")
    parser.add_argument("--blocks", type=int, default=7, help="turns of each side (default 7)")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind in a block (default 5, at least 3)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default 128)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both (default: all cores)")
    parser.add_argument("--bitfront", type=Path, default=ROOT / "target" / "release" / "bitfront", help="the program")
    parser.add_argument("--write", type=Path, help="also write the table to this Markdown file")
    how = parser.parse_args()
    if how.rounds < 3 or min(how.blocks, how.batch, how.threads) < 1:
        parser.error("--rounds must be 3 or more; --blocks, --batch and --threads positive")
    return how


def install():
    print(f"eager: fetching torch=={VERSION} and what it needs: 4.7 GB in {HOME.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"torch=={VERSION}", "numpy"], check=True)


def network(torch, limits):
    """ResNet-20 with option-A shortcuts; `limits` are the lowest and highest code, None for float32."""
    from torch import nn
    from torch.ao.quantization import FusedMovingAvgObsFakeQuantize, MovingAverageMinMaxObserver
    from torch.ao.quantization import MovingAveragePerChannelMinMaxObserver

    def fake(channels=None):
        if limits is None:
            return nn.Identity()
        shared = dict(quant_min=limits[0], quant_max=limits[1], dtype=torch.qint8)
        if channels is None:
            return FusedMovingAvgObsFakeQuantize(MovingAverageMinMaxObserver, qscheme=torch.per_tensor_affine, **shared)
        own = dict(qscheme=torch.per_channel_symmetric, ch_axis=0)
        return FusedMovingAvgObsFakeQuantize(MovingAveragePerChannelMinMaxObserver, **own, **shared)

    class Conv(nn.Conv2d):
        def __init__(self, c_in, c_out, stride):
            super().__init__(c_in, c_out, 3, stride, 1, bias=False)
            self.fake = fake(c_out)

        def forward(self, x):
            return self._conv_forward(x, self.fake(self.weight), None)

    class Linear(nn.Linear):
        def __init__(self, c_in, c_out):
            super().__init__(c_in, c_out)
            self.fake = fake(c_out)

        def forward(self, x):
            return nn.functional.linear(x, self.fake(self.weight), self.bias)

    class Block(nn.Module):
        def __init__(self, c_in, c_out, stride):
            super().__init__()
            self.conv1, self.bn1, self.point1 = Conv(c_in, c_out, stride), nn.BatchNorm2d(c_out), fake()
            self.conv2, self.bn2, self.point2 = Conv(c_out, c_out, 1), nn.BatchNorm2d(c_out), fake()
            self.sum, self.stride, self.missing = fake(), stride, c_out - c_in

        def forward(self, x):
            y = self.point1(nn.functional.relu(self.bn1(self.conv1(x))))
            y = self.point2(self.bn2(self.conv2(y)))
            if self.missing:
                x = x[:, :, :: self.stride, :: self.stride]
                x = nn.functional.pad(x, (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
            return self.sum(nn.functional.relu(y + x))

    blocks, c_in = [], 16
    for c_out, stride in [(16, 1), (32, 2), (64, 2)]:
        blocks += [Block(c_in, c_out, stride), Block(c_out, c_out, 1), Block(c_out, c_out, 1)]
        c_in = c_out
    stem = [fake(), Conv(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), fake()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), fake(), nn.Flatten(), Linear(64, 10))


def arms(torch, batch):
    """What PyTorch times: name and one training step."""
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    found = {}
    for name, limits in {"float32": None, **FORMATS}.items():
        for layout in ["row-major", "channels-last"]:
            model, images = network(torch, limits).train(), x
            if layout == "channels-last":
                model, images = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
            sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)

            def step(model=model, images=images, sgd=sgd):
                sgd.zero_grad()
                logits = model(images)
                torch.nn.functional.cross_entropy(logits, y).backward()
                (logits.argmax(-1) == y).float().mean().item()
                sgd.step()

            found[f"PyTorch {name}, {layout}"] = step
    return found


def ours(how):
    """Median milliseconds of each kind of step of bitfront in one block."""
    command = [str(how.bitfront), "bench", "speed", "--parts", "steps", "--model", "resnet20", "--json", "--quiet"]
    command += ["--batch", str(how.batch), "--rounds", str(how.rounds), "--threads", str(how.threads)]
    libraries = {"LD_LIBRARY_PATH": str(ROOT / ".libtorch" / "lib")}
    memory = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483648", "MALLOC_TOP_PAD_": "67108864"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **libraries, **memory})
    return {f"bitfront {arm['name']}": arm["median_ms"] for arm in json.loads(done.stdout)["steps"]}


def theirs(steps, rounds):
    """The same of PyTorch."""
    times = {name: [] for name in steps}
    for at in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if at >= 2:
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(own) for name, own in times.items()}


def measured(how):
    import torch

    torch.set_num_threads(how.threads)
    torch.manual_seed(0)
    steps, blocks = arms(torch, how.batch), []
    for at in range(how.blocks):
        print(f"eager: block {at + 1} of {how.blocks}", file=sys.stderr, flush=True)
        blocks.append({**theirs(steps, how.rounds), **ours(how)})
    names = list(blocks[0])
    base = "PyTorch {}, row-major"

    def line(name):
        own = [block[name] for block in blocks]
        kind = name.split(" ", 1)[1].split(",")[0]
        kind = kind if base.format(kind) in names else None
        ratio = statistics.median(block[base.format(kind)] / block[name] for block in blocks) if kind else None
        spread = f"{min(own):.1f} to {max(own):.1f}"
        return f"| {name:<42} | {statistics.median(own):>9.1f} | {spread:>16} | {f'{ratio:.2f}' if ratio else '-':>13} |"

    text = "# A training step against PyTorch eager\n\n"
    text += f"Written by `python3 benches/eager.py --blocks {how.blocks} --rounds {how.rounds}` ({how.threads} threads, PyTorch {torch.__version__}): ResNet-20, {how.batch} images,\n"
    text += f"{how.blocks} blocks of {how.rounds} steps of each kind in turn. Times as fast: as PyTorch's modules in the same format,\n"
    text += "row-major as they come (FusedMovingAvgObsFakeQuantize where bitfront has a quantization point).\n\n"
    text += f"| {'a step in':<42} | median ms | {'of blocks':>16} | times as fast |\n"
    text += f"| {'-' * 42} | --------: | {'-' * 15}: | ------------: |\n"
    text += "\n".join(map(line, names)) + "\n"
    print(text)
    if how.write:
        how.write.write_text(text)


def main():
    how = options()
    if how.install:
        install()
    if not PYTHON.exists():
        sys.exit("eager: PyTorch is missing; `python3 benches/eager.py --install` fetches it (4.7 GB in .libtorch/eager)")
    if not how.bitfront.exists():
        sys.exit(f"eager: {how.bitfront} is missing; `cargo build --release` makes it")
    if Path(sys.prefix).resolve() != HOME.resolve():
        # Threads of both that wait spin as briefly: the default lets a busy machine stand still.
        words = [word for word in sys.argv if word != "--install"]
        os.execve(PYTHON, [str(PYTHON), *words], {**os.environ, "GOMP_SPINCOUNT": "10000"})
    measured(how)


if __name__ == "__main__":
    main()
