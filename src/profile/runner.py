"""Times the kernels of this folder in ONNX Runtime and prints a table for `bitfront profile --collect`.

    python run.py > kernels.csv        needs Python 3.8 and the packages onnxruntime and numpy

A kernel's time is that of the model with it less that of the model without it; the two take turns, all kernels in three
rounds. One thread, batch 1. Progress is on stderr.
"""

import argparse
import csv
import functools
import os
import statistics
import sys
import time

import numpy
import onnxruntime

ROUNDS = 3
SHORTEST_US = 0.1  # less is within the noise of a difference
NUMBERS = ["runs", "median_us", "p10_us", "p90_us", "mad_us"]


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runner(path):
    opened = session(path)
    image = opened.get_inputs()[0]
    shape = [1] + [int(size) for size in image.shape[1:]]
    pixels = (numpy.arange(numpy.prod(shape)) % 7 / 3 - 1).astype(numpy.float32).reshape(shape)
    # Input and output bound once, and no Python between two runs but the call: what the interpreter does there takes the
    # processor's caches from the kernels.
    bound = opened.io_binding()
    bound.bind_cpu_input(image.name, pixels)
    logits = opened.get_outputs()[0]
    sizes = [1] + [int(size) for size in logits.shape[1:]]
    bound.bind_ortvalue_output(logits.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(sizes, numpy.float32))
    return functools.partial(opened.run_with_iobinding, bound)


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


def measured(folder, row, least_s):
    pair = [runner(os.path.join(folder, row[name])) for name in ("with", "without")]
    with_it, without_it = paired(*pair, least_s)
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
    found = [[] for _ in rows]
    for turn in range(ROUNDS):
        for at, row in enumerate(rows):
            found[at].append(measured(folder, row, arguments.least))
            if (at + 1) % 50 == 0 or at + 1 == len(rows):
                print(f"round {turn + 1} of {ROUNDS}: {at + 1} of {len(rows)}", file=sys.stderr)
    columns = [name for name in rows[0] if name not in ("with", "without")]
    out = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    out.writeheader()
    for row, rounds in zip(rows, found):
        numbers = [statistics.median(column) for column in zip(*rounds)]
        numbers[0] = sum(turn[0] for turn in rounds)
        numbers[2], numbers[3] = min(numbers[2], numbers[1]), max(numbers[3], numbers[1])
        row.update({name: format(value, "g") for name, value in zip(NUMBERS, numbers)})
        out.writerow(row)


if __name__ == "__main__":
    main()
