"""A small convolutional network whose activations are quadratics, and its ONNX form.

What: conv 5x5 stride 2 - BN - quadratic - conv 5x5 stride 2 - BN - quadratic - conv 3x3 - BN - quadratic - average
pool - FC. A quadratic is a*(x + d)^2 + e, one of two forms:

| form | trained per channel | in the ONNX graph |
|---|---|---|
| `square` | d; a = 1/4, e = 0 | BN with factor 1/2 and shift d/2, then x*x |
| `quadratic` | a, d, e | BN without factor and shift, then a*x^2 + b*x + c with b = 2*a*d, c = a*d^2 + e |

Both start as 0.25*(x + 1.25)^2, which up to a constant follows ReLU on the few standard deviations where normalised
values lie. The square loses little: the next layer's weights take over the sign and size of a, and its normalisation
takes e away (but for the planes' borders, where a padding of zeros shows what e was). It is the form to prefer in
private: one product, and no coefficients that would have to be public or folded.

Why this shape: a private activation costs per element, so strides shrink the planes before the activations; a linear
layer and an average pool cost no communication online; a quadratic needs no comparison. What enters a quadratic has
mean 0 and standard deviation 1 in every channel, so that the range that a fixed-point format has to span can be read
off in standard deviations.

Source of the idea: CryptoNets (Gilad-Bachrach et al., ICML 2016) for squares; Delphi (Mishra et al., USENIX Security
2020) for quadratics that follow ReLU.

Shapes: input N x 1 x 28 x 28 (x / 255); A x 14 x 14, B x 7 x 7, C x 7 x 7, pooled (3x3, stride 2) C x 3 x 3; output
N x 10 logits. Widths A, B, C are arguments. Convolutions have no bias: the normalisation takes the mean away again.

Ranges: a quadratic is unbounded. `excess` measures what leaves a band of standard deviations; training punishes it.

Not promised: the graph takes one image at a time (batch 1), as the private evaluation does.
"""

from dataclasses import dataclass

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 13
IR_VERSION = 7
BN_EPSILON = 1e-5
CLASSES = 10
KERNELS = (5, 5, 3)
STRIDES = (2, 2, 1)
POOLED = 9
FORMS = ("square", "quadratic")
START = {"a": 0.25, "d": 1.25, "e": 0.0}


class Quadratic(nn.Module):
    """a*(x + d)^2 + e with one a, d, e per channel; N x C x H x W to the same shape. Only d is trained in a square."""

    def __init__(self, channels: int, form: str) -> None:
        super().__init__()
        for name, start in START.items():
            trained = name == "d" or form == "quadratic"
            setattr(self, name, nn.Parameter(torch.full((channels, 1, 1), start), requires_grad=trained))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a * (x + self.d).square() + self.e


@dataclass
class Outputs:
    """Logits (N x 10), and x + d of every quadratic (N x C x H x W each): the number that is squared, in standard
    deviations."""

    logits: torch.Tensor
    entered: list[torch.Tensor]

    def excess(self, band: float) -> torch.Tensor:
        """Mean square of what leaves -band..band, summed over the quadratics."""
        return sum(F.relu(x.abs() - band).square().mean() for x in self.entered)


class PolyNet(nn.Module):
    """The network; `forward` maps N x 1 x 28 x 28 to `Outputs`."""

    def __init__(self, widths: tuple[int, int, int], form: str) -> None:
        super().__init__()
        self.form = form
        sources = (1, *widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(source, width, kernel, stride, kernel // 2, bias=False)
            for source, width, kernel, stride in zip(sources, widths, KERNELS, STRIDES)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=BN_EPSILON, affine=False) for width in widths)
        self.quadratics = nn.ModuleList(Quadratic(width, form) for width in widths)
        self.fc = nn.Linear(widths[-1] * POOLED, CLASSES)

    def forward(self, x: torch.Tensor) -> Outputs:
        entered = []
        for conv, norm, quadratic in zip(self.convs, self.norms, self.quadratics):
            x = norm(conv(x))
            entered.append(x + quadratic.d)
            x = quadratic(x)
        return Outputs(self.fc(F.avg_pool2d(x, 3, 2).flatten(1)), entered)


def to_onnx(model: PolyNet, name: str) -> onnx.ModelProto:
    """The network as an ONNX model (opset 13, IR version 7, input 1 x 1 x 28 x 28), normalisation left in,
    quadratics as Mul and Add nodes; checked by onnx's checker."""
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def weight(key: str, value: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(value.detach().numpy().astype("float32"), key))
        return key

    def node(kind: str, inputs: list[str], key: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{key}_out"], key, **attributes))
        return f"{key}_out"

    x = "image"
    layers = zip(model.convs, model.norms, model.quadratics)
    for i, (conv, norm, quadratic) in enumerate(layers, 1):
        kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
        x = node("Conv", [x, weight(f"conv{i}.weight", conv.weight)], f"conv{i}", kernel_shape=list(kernel),
                 strides=list(stride), pads=[*padding, *padding], dilations=[1, 1], group=1)
        square = model.form == "square"
        ones = torch.ones_like(norm.running_mean)
        root = START["a"] ** 0.5
        statistics = [
            weight(f"bn{i}.scale", ones * root if square else ones),
            weight(f"bn{i}.bias", quadratic.d.flatten() * root if square else ones * 0),
            weight(f"bn{i}.mean", norm.running_mean),
            weight(f"bn{i}.var", norm.running_var),
        ]
        x = node("BatchNormalization", [x, *statistics], f"bn{i}", epsilon=BN_EPSILON)
        if square:
            x = node("Mul", [x, x], f"square{i}")
            continue
        a, d, e = quadratic.a, quadratic.d, quadratic.e
        second = node("Mul", [node("Mul", [x, x], f"square{i}"), weight(f"quadratic{i}.a", a)], f"quadratic{i}_a")
        first = node("Mul", [x, weight(f"quadratic{i}.b", 2 * a * d)], f"quadratic{i}_b")
        x = node("Add", [second, first], f"quadratic{i}_ab")
        x = node("Add", [x, weight(f"quadratic{i}.c", a * d * d + e)], f"quadratic{i}")
    x = node("AveragePool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 0])
    x = node("Flatten", [x], "flatten", axis=1)
    inputs = [x, weight("fc.weight", model.fc.weight), weight("fc.bias", model.fc.bias)]
    nodes.append(helper.make_node("Gemm", inputs, ["logits"], "fc", alpha=1.0, beta=1.0, transB=1))

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    proto.producer_name = "hushnet training/train_poly.py"
    onnx.checker.check_model(proto, full_check=True)
    return proto
