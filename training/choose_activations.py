"""Chooses ReLUs of a trained network that can be replaced by quadratics or dropped, channel by channel, as a list for
`hushnet merge --replace`.

What: a ReLU costs a comparison per element, a quadratic one product, an identity nothing. For every channel of every
Relu node, candidates are fitted on sample images: the identity (good where the values are hardly ever negative), zero
(hardly ever positive), and the quadratic nearest to ReLU in the least squares of the values that occur, in the whole
layer or with --per-channel in the channel alone. Each candidate is tried alone; its score is the mean square change of
the logits per comparison saved. Then candidates are accepted in the order of their scores, as many as leave the labels
as they were on a share of `--agreement` of other images. The weights stay as they are; to replace more, train with the
replacement in place (README.md).

Source of the idea: SAFENet (Lou, Shen, Jin, Jiang, ICLR 2021: channel-wise quadratics), DeepReDuce (Jha, Ghodsi, Garg,
Reagen, ICML 2021: dropping ReLUs where they matter least). The selection here is a simpler one: a single greedy pass.

Shapes: MODEL.onnx takes one image at a time and gives one vector; IMAGES.npy is N x (the input without its first axis),
float, scaled as the network expects. The even images serve to fit and score, the odd ones to accept.

Output: a list of {"layer": a Relu node's name, "channels": [counted along axis 1], "function": "identity" or
{"polynomial": [c0, c1, c2]}}, coefficients from the constant up; zero is the polynomial [0]. Channels that are not in
the list stay ReLUs.

Not promised: that replaced channels stay in range on images unlike the samples: a quadratic grows without bound where
a ReLU grows linearly. Calibrate with images as varied as the real ones. Nor that the merged network is cheaper: where
a max pool follows, a ReLU would have been moved behind it (README.md has figures).

Usage: python choose_activations.py MODEL.onnx IMAGES.npy --out LIST.json [--agreement 0.995] [--score-images 32]
[--per-channel]
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

TERMS = ("keep", "square", "linear", "constant")
# A function is (square, linear, constant).
IDENTITY, ZERO = (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Layer:
    """One Relu node: its name, the tensor it reads, that tensor's channels and elements per channel."""

    name: str
    source: str
    channels: int
    elements: int

    def shape(self) -> tuple[int, ...]:
        """The shape in which per-channel numbers broadcast."""
        return (1, self.channels, 1, 1) if self.elements > 1 else (1, self.channels)


@dataclass(frozen=True)
class Candidate:
    """(square, linear, constant) in place of the ReLU of one channel, and what it changes per comparison saved."""

    layer: int
    channel: int
    function: tuple[float, float, float]
    score: float = math.inf


class Probe:
    """The network with every Relu node turned into keep*relu(x) + square*x^2 + linear*x + constant, the four being
    inputs with one number per channel, so that any choice can be tried without building a graph."""

    def __init__(self, path: Path) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        graph = model.graph
        shapes = {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in [*graph.value_info, *graph.input, *graph.output]
        }
        self.layers: list[Layer] = []
        nodes, sources = [], []
        for node in graph.node:
            if node.op_type != "Relu":
                nodes.append(node)
                continue
            shape = shapes.get(node.input[0], [])
            if len(shape) not in (2, 4) or 0 in shape[1:]:
                sys.exit(f"{path}: Relu node {node.name!r} has the shape {shape}; N x C or N x C x H x W is expected")
            layer = Layer(node.name or node.output[0], node.input[0], shape[1], math.prod(shape[2:]))
            nodes.extend(_replacement(node, len(self.layers)))
            graph.input.extend(
                helper.make_tensor_value_info(f"{term}{len(self.layers)}", TensorProto.FLOAT, layer.shape())
                for term in TERMS
            )
            self.layers.append(layer)
            sources.append(helper.make_tensor_value_info(layer.source, TensorProto.FLOAT, None))
        if not self.layers:
            sys.exit(f"{path}: there is no Relu node to replace")
        self._image, self._logits = graph.input[0].name, graph.output[0].name
        del graph.node[:]
        graph.node.extend(nodes)
        graph.output.extend(sources)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.image_shape = [size or 1 for size in self._session.get_inputs()[0].shape[1:]]

    def logits(self, images: np.ndarray, choice: list[Candidate]) -> np.ndarray:
        """N x classes, with the choice in place."""
        return self._run(images, choice, [self._logits])[0]

    def entering(self, images: np.ndarray) -> list[np.ndarray]:
        """What enters every Relu node in the network as it is, C x (N * elements) each."""
        values = self._run(images, [], [layer.source for layer in self.layers])
        return [np.moveaxis(value, 1, 0).reshape(value.shape[1], -1) for value in values]

    def _run(self, images: np.ndarray, choice: list[Candidate], names: list[str]) -> list[np.ndarray]:
        feed = {}
        for i, layer in enumerate(self.layers):
            for term in TERMS:
                feed[f"{term}{i}"] = np.full(layer.shape(), float(term == "keep"), np.float32)
        for candidate in choice:
            for term, value in zip(TERMS, (0.0, *candidate.function)):
                feed[f"{term}{candidate.layer}"][0, candidate.channel] = value
        results = [self._session.run(names, {self._image: image[None], **feed}) for image in images]
        return [np.concatenate(parts) for parts in zip(*results)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Chooses ReLUs to replace, as a list for hushnet merge --replace.")
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, help=".npy, N x input shape, scaled as the network expects")
    parser.add_argument("--out", type=Path, required=True, help="the list to write")
    parser.add_argument("--agreement", type=float, default=0.995, help="share of images that must keep their label")
    parser.add_argument("--score-images", type=int, default=32, help="images on which every candidate is tried")
    parser.add_argument("--per-channel", action="store_true", help="a quadratic of its own for every channel")
    arguments = parser.parse_args()

    probe = Probe(arguments.model)
    images = np.load(arguments.images, allow_pickle=False).astype(np.float32)
    images = images.reshape(len(images), *probe.image_shape)
    fitting, accepting = images[0::2], images[1::2]
    if not len(accepting):
        sys.exit(f"{arguments.images}: at least two images are needed")

    candidates = fit(probe, fitting, arguments.per_channel)
    ranked = rank(probe, fitting[: arguments.score_images], candidates)
    accepted = accept(probe, accepting, ranked, arguments.agreement)
    arguments.out.write_text(text(entries(probe, ranked[:accepted])))
    summary(probe, ranked[:accepted], accepting)


def fit(probe: Probe, images: np.ndarray, per_channel: bool) -> list[Candidate]:
    """The candidates of every channel, not scored yet."""
    candidates = []
    for i, values in enumerate(probe.entering(images)):
        common = quadratic(values.reshape(-1))
        for channel, x in enumerate(values):
            functions = (IDENTITY, ZERO, quadratic(x) if per_channel else common)
            candidates.extend(Candidate(i, channel, function) for function in functions)
    return candidates


def quadratic(x: np.ndarray) -> tuple[float, float, float]:
    """The parabola nearest to ReLU on the given values, to 7 digits."""
    x = x.astype(np.float64)
    powers = np.stack([x * x, x, np.ones_like(x)], 1)
    # Values that hardly vary have no unique parabola; lstsq then takes the smallest coefficients.
    square, linear, constant = np.linalg.lstsq(powers, np.maximum(x, 0), rcond=1e-9)[0]
    return float(f"{square:.7g}"), float(f"{linear:.7g}"), float(f"{constant:.7g}")


def rank(probe: Probe, images: np.ndarray, candidates: list[Candidate]) -> list[Candidate]:
    """The best candidate of every channel, those that change the logits least per comparison saved first."""
    reference = probe.logits(images, [])
    best: dict[tuple[int, int], Candidate] = {}
    for candidate in candidates:
        change = float(np.square(probe.logits(images, [candidate]) - reference).mean())
        key = candidate.layer, candidate.channel
        scored = Candidate(*key, candidate.function, change / probe.layers[candidate.layer].elements)
        # Strictly smaller: of equals the earlier is taken, and those that need no product stand first.
        if key not in best or scored.score < best[key].score:
            best[key] = scored
    return sorted(best.values(), key=lambda candidate: candidate.score)


def accept(probe: Probe, images: np.ndarray, ranked: list[Candidate], agreement: float) -> int:
    """How many of the ranked candidates can be in place together, found by bisection."""
    reference = probe.logits(images, []).argmax(1)
    low, high = 0, len(ranked) + 1
    while high - low > 1:
        middle = (low + high) // 2
        same = (probe.logits(images, ranked[:middle]).argmax(1) == reference).mean()
        low, high = (middle, high) if same >= agreement else (low, middle)
    return low


def entries(probe: Probe, choice: list[Candidate]) -> list[dict]:
    """The list: one entry per node and function, channels ascending."""
    groups: dict[tuple[int, tuple[float, float, float]], list[int]] = {}
    for candidate in sorted(choice, key=lambda candidate: (candidate.layer, candidate.channel)):
        groups.setdefault((candidate.layer, candidate.function), []).append(candidate.channel)
    return [
        {"layer": probe.layers[layer].name, "channels": channels, "function": described(function)}
        for (layer, function), channels in groups.items()
    ]


def described(function: tuple[float, float, float]) -> str | dict:
    """A function as the list names it."""
    if function == IDENTITY:
        return "identity"
    return {"polynomial": [0.0] if function == ZERO else list(function[::-1])}


def text(rows: list[dict]) -> str:
    """The list as JSON, with one line per entry."""
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n]\n"


def summary(probe: Probe, choice: list[Candidate], images: np.ndarray) -> None:
    """Prints what was replaced, and the agreement on the images that accepted it."""
    for i, layer in enumerate(probe.layers):
        chosen = [c.function for c in choice if c.layer == i]
        identities, zeros = chosen.count(IDENTITY), chosen.count(ZERO)
        print(
            f"{layer.name}: of {layer.channels} channels with {layer.elements} elements {identities} identity, "
            f"{zeros} zero, {len(chosen) - identities - zeros} quadratic, {layer.channels - len(chosen)} ReLU"
        )
    total = sum(layer.channels * layer.elements for layer in probe.layers)
    saved = sum(probe.layers[c.layer].elements for c in choice)
    same = (probe.logits(images, choice).argmax(1) == probe.logits(images, []).argmax(1)).mean()
    print(f"{saved} of {total} comparisons saved; same label on {100 * same:.2f} % of {len(images)} images")


def _replacement(node: onnx.NodeProto, index: int) -> list[onnx.NodeProto]:
    """keep*relu(x) + (square*x + linear)*x + constant, under the Relu node's output name."""
    x, out = node.input[0], node.output[0]
    keep, square, linear, constant = (f"{term}{index}" for term in TERMS)

    def make(kind: str, first: str, second: str, result: str) -> onnx.NodeProto:
        return helper.make_node(kind, [first, second], [result])

    step = f"{out}_probe"
    return [
        helper.make_node("Relu", [x], [f"{step}_relu"]),
        make("Mul", f"{step}_relu", keep, f"{step}_kept"),
        make("Mul", x, square, f"{step}_1"),
        make("Add", f"{step}_1", linear, f"{step}_2"),
        make("Mul", f"{step}_2", x, f"{step}_3"),
        make("Add", f"{step}_3", constant, f"{step}_4"),
        make("Add", f"{step}_kept", f"{step}_4", out),
    ]


if __name__ == "__main__":
    main()
