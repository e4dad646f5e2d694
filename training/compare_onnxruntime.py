"""Prints an ONNX network's float outputs on given inputs, as JSON: the reference that private results are held to.

What: runs MODEL.onnx with onnxruntime on the CPU (float32, graph optimisations off, so that the file is computed as it
is written) on every image of INPUTS.npy, one at a time.

Shapes: INPUTS.npy holds N x (the network's input without its first axis), already scaled as the network expects it
(for the MNIST network: N x 1 x 28 x 28, x / 255); uint8 and float64 are converted to float32 without scaling. Missing
axes of size 1 (N x 28 x 28) are added, and images are flattened for a network that takes them flat.

Output, one document: `schema` ("hushnet-reference-1"), `model`, `input_shape` (of one image), `labels` (N class
numbers), `logits` (N lists of raw outputs, shortest decimals that give back the same float32).

Usage: python compare_onnxruntime.py MODEL.onnx INPUTS.npy [--count N]
Exits with 1 and one sentence if the network is not one image in, one vector out, or the inputs do not fit it.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(description="Float outputs of an ONNX network, as JSON.")
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--count", type=int, help="only the first N images")
    arguments = parser.parse_args()

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class per cause; its message names the cause
        sys.exit(f"{arguments.model}: onnxruntime cannot load it: {error}")
    ends = len(session.get_inputs()), len(session.get_outputs())
    if ends != (1, 1):
        sys.exit(f"{arguments.model}: {ends[0]} inputs and {ends[1]} outputs, where one of each is expected")
    shape = session.get_inputs()[0].shape[1:]
    if not all(isinstance(size, int) for size in shape):
        sys.exit(f"{arguments.model}: the size of one input image is not fixed: {shape}")

    try:
        images = np.load(arguments.inputs, allow_pickle=False)
    except (OSError, ValueError) as error:
        sys.exit(f"{arguments.inputs}: not a readable .npy file: {error}")
    if not fits(images.shape[1:], shape):
        sys.exit(f"{arguments.inputs}: shape {images.shape}, but the network takes N x {shape}")
    images = images[: arguments.count].astype(np.float32).reshape(-1, 1, *shape)

    name = session.get_inputs()[0].name
    logits = [session.run(None, {name: image})[0].reshape(-1) for image in images]
    document = {
        "schema": "hushnet-reference-1",
        "model": str(arguments.model),
        "input_shape": shape,
        "labels": [int(row.argmax()) for row in logits],
        # str() of a numpy float32 is the shortest decimal that reads back as the same float32.
        "logits": [[float(str(value)) for value in row] for row in logits],
    }
    json.dump(document, sys.stdout)
    print()


def fits(given: tuple[int, ...], wanted: list[int]) -> bool:
    """Whether images of one shape can stand for the other: equal but for axes of size 1, or taken flat."""
    given_sizes = [size for size in given if size != 1]
    wanted_sizes = [size for size in wanted if size != 1]
    return given_sizes == wanted_sizes or wanted_sizes == [math.prod(given_sizes)]


if __name__ == "__main__":
    main()
