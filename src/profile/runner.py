"""Times the kernels of this folder in ONNX Runtime and prints a table for `bitfront profile --collect`.

    python run.py > kernels.csv        needs Python 3.8 and the packages onnxruntime and numpy

A kernel's time is that of the model with it less that of the model without it; the two take turns, all kernels in seven
rounds. One thread, batch 1. Progress is on stderr.
"""

import argparse
import contextlib
import csv
import ctypes
import functools
import gc
import glob
import os
import statistics
import sys
import time

import numpy
import onnxruntime

ROUNDS = 7
SHORTEST_US = 0.1  # less is within the noise of a difference
NUMBERS = ["runs", "median_us", "p10_us", "p90_us", "mad_us"]


class Library:
    """The C interface of ONNX Runtime's library, which its package holds. The module `onnxruntime` has its own copy, which
    takes up to a microsecond more a node."""

    # Places in OrtApi, which only ever grows at its end.
    ERROR, ENVIRONMENT, SESSION, RUN, OPTIONS, THREADS, TENSOR, MEMORY, FREE = 2, 3, 8, 9, 10, 24, 49, 69, 95

    def __init__(self, path):
        entry = ctypes.CDLL(path).OrtGetApiBase
        entry.restype = ctypes.POINTER(ctypes.c_void_p)
        interface = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(entry()[0])(16)
        self.table = ctypes.cast(interface, ctypes.POINTER(ctypes.c_void_p))
        self.environment = self.made(self.ENVIRONMENT, ctypes.c_int(3), b"kernels")
        self.options = self.made(self.OPTIONS)
        self.call(self.THREADS, self.options, ctypes.c_int(1))
        self.memory = self.made(self.MEMORY, ctypes.c_int(0), ctypes.c_int(0))

    def function(self, place, result=ctypes.c_void_p):
        return ctypes.CFUNCTYPE(result)(self.table[place])

    def call(self, place, *arguments):
        status = self.function(place)(*arguments)
        if status:
            raise RuntimeError(self.function(self.ERROR, ctypes.c_char_p)(ctypes.c_void_p(status)).decode())

    def made(self, place, *arguments):
        """What a function of the interface makes, by its last argument."""
        made = ctypes.c_void_p()
        self.call(place, *arguments, ctypes.byref(made))
        return made

    @contextlib.contextmanager
    def runner(self, path, shape):
        with open(path, "rb") as file:
            model = file.read()
        size = ctypes.c_size_t
        session = self.made(self.SESSION, self.environment, model, size(len(model)), self.options)
        pixels, sizes = image(shape), (ctypes.c_int64 * len(shape))(*shape)
        data = [ctypes.c_void_p(pixels.ctypes.data), size(pixels.nbytes), sizes, size(len(shape)), ctypes.c_int(1)]
        tensors, logits = (ctypes.c_void_p * 1)(self.made(self.TENSOR, self.memory, *data)), (ctypes.c_void_p * 1)()
        names = [(ctypes.c_char_p * 1)(name) for name in (b"input", b"logits")]
        # The first run makes the logits, which the others write again.
        one = size(1)
        arguments = [session, None, names[0], tensors, one, names[1], one, logits]
        self.call(self.RUN, *arguments)
        yield functools.partial(self.function(self.RUN), *arguments)
        self.function(self.FREE, None)(session)


@contextlib.contextmanager
def module_runner(path, shape):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bound = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = bound.io_binding()
    pixels = image(shape)
    binding.bind_cpu_input("input", pixels)
    binding.bind_output("logits")
    yield functools.partial(bound.run_with_iobinding, binding)


def image(shape):
    return (numpy.arange(numpy.prod(shape)) % 7 / 3 - 1).astype(numpy.float32).reshape(shape)


def library_runner():
    folder = os.path.join(os.path.dirname(onnxruntime.__file__), "capi")
    names = ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll")
    found = [path for name in names for path in sorted(glob.glob(os.path.join(folder, name)))]
    if found:
        return Library(found[0]).runner
    print("no library of ONNX Runtime in its package: short kernels will read up to 25 % long", file=sys.stderr)
    return module_runner


def without_outliers(times):
    """The times within three deviations of their median, the deviation estimated from the MAD."""
    centre = statistics.median(times)
    mad = statistics.median(abs(us - centre) for us in times)
    reach = max(3 * 1.4826 * mad, 1e-3 * centre)
    return [us for us in times if abs(us - centre) <= reach]


def block(run, runs, times):
    run()  # finds the other's data in the cache
    for _ in range(runs):
        began = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - began) / 1e3)


def paired(first, second, least_s):
    for _ in range(3):
        first()
        second()
    times = [[], []]
    began = time.perf_counter()
    while len(times[0]) < 400 and (len(times[0]) < 10 or time.perf_counter() - began < least_s):
        block(first, 5, times[0])
        block(second, 5, times[1])
    return [without_outliers(sample) for sample in times]


def measured(runner, folder, row, least_s):
    shape = [1] + [int(size) for size in row["input"].split("x")]
    pair = [runner(os.path.join(folder, row[name]), shape) for name in ("with", "without")]
    with pair[0] as first, pair[1] as second:
        with_it, without_it = paired(first, second, least_s)
    context = statistics.median(without_it)
    centre = statistics.median(with_it)
    mads = [statistics.median(abs(us - statistics.median(s)) for us in s) for s in (with_it, without_it)]
    left = [max(us - context, SHORTEST_US) for us in (centre, *numpy.quantile(with_it, [0.1, 0.9]))]
    return [len(with_it), *left, sum(mads)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--least", type=float, default=0.04, help="seconds for each kernel and round")
    arguments = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "kernels.csv"), newline="") as listed:
        rows = list(csv.DictReader(listed))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    runner = library_runner()
    gc.disable()
    found = [[] for _ in rows]
    for turn in range(ROUNDS):
        for at, row in enumerate(rows):
            found[at].append(measured(runner, folder, row, arguments.least))
            if (at + 1) % 50 == 0 or at + 1 == len(rows):
                print(f"round {turn + 1} of {ROUNDS}: {at + 1} of {len(rows)}", file=sys.stderr)
    columns = [name for name in rows[0] if name not in ("with", "without", "input")]
    out = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    out.writeheader()
    for row, rounds in zip(rows, found):
        numbers = [statistics.median(column) for column in zip(*rounds)]
        numbers[0] = sum(turn[0] for turn in rounds)
        numbers[2], numbers[3] = min(numbers[2], numbers[1]), max(numbers[3], numbers[1])
        row.update({name: format(value, "g") for name, value in zip(NUMBERS, numbers)})
        out.writerow(row)


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except OSError as error:
        sys.exit(f"error: {error}")
