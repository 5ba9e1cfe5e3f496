"""Makes data/fashion-mnist-mini from Fashion-MNIST: the first PER_CLASS training images of each class, all test images.

Source: Debian's package `dataset-fashion-mnist` (apt-get install dataset-fashion-mnist), the IDX files of
Xiao, Rasul, Vollgraf, "Fashion-MNIST" (2017), https://arxiv.org/abs/1708.07747, MIT.
File order is kept, nothing is drawn at random, so the same source gives the same images every time.

Usage: python3 data/make_fashion_mnist_mini.py [SOURCE_DIR]     needs only Python 3; uses `zopfli` where it is installed.
"""

import gzip
import shutil
import struct
import subprocess
import sys
from pathlib import Path

PER_CLASS = 1200
CLASSES = 10
SIDE = 28
SOURCE = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).resolve().parent / "fashion-mnist-mini"


def read(name):
    """Bytes of one source file, unpacked."""
    return gzip.decompress((SOURCE / name).read_bytes())


def write(name, content):
    """Writes `content` packed, without name or time in the gzip header, so that the bytes repeat."""
    path = TARGET / name
    if shutil.which("zopfli"):
        plain = path.with_suffix("")
        plain.write_bytes(content)
        subprocess.run(["zopfli", "--i15", str(plain)], check=True)
        plain.unlink()
    else:
        path.write_bytes(gzip.compress(content, 9, mtime=0))
    print(f"{path.name}: {path.stat().st_size} bytes")


def first_of_each_class(labels):
    """Positions of the first PER_CLASS entries of each class, in file order."""
    taken = [0] * CLASSES
    kept = []
    for position, label in enumerate(labels):
        if taken[label] < PER_CLASS:
            taken[label] += 1
            kept.append(position)
    return kept


def make(split, select):
    """Packs the images of one split (`train` or `t10k`) at the positions that `select(labels)` names."""
    images = read(f"{split}-images-idx3-ubyte.gz")
    labels = read(f"{split}-labels-idx1-ubyte.gz")
    magic, count, rows, columns = struct.unpack(">4I", images[:16])
    assert (magic, rows, columns) == (0x803, SIDE, SIDE) and struct.unpack(">2I", labels[:8]) == (0x801, count)
    pixels, labels = images[16:], labels[8:]
    kept = select(labels)
    area = SIDE * SIDE
    chosen = b"".join(pixels[position * area : (position + 1) * area] for position in kept)
    write(f"{split}-images-idx3-ubyte.gz", struct.pack(">4I", 0x803, len(kept), SIDE, SIDE) + chosen)
    write(f"{split}-labels-idx1-ubyte.gz", struct.pack(">2I", 0x801, len(kept)) + bytes(labels[p] for p in kept))


TARGET.mkdir(parents=True, exist_ok=True)
make("train", first_of_each_class)
make("t10k", lambda labels: range(len(labels)))
