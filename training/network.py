"""The MNIST network of the demonstration, and its ONNX form.

What: conv 5x5x16 - BN - ReLU - max-pool 2 - conv 5x5x16 - BN - ReLU - max-pool 2 - FC 100 - ReLU - FC 10, the
architecture that MiniONN introduced as its MNIST CNN (Liu, Juuti, Lu, Asokan, "Oblivious Neural Network Predictions
via MiniONN Transformations", CCS 2017), with batch normalisation after both convolutions.

Shapes: input 1 x 1 x 28 x 28 (N x C x H x W, x / 255); 16 x 24 x 24, 16 x 12 x 12, 16 x 8 x 8, 16 x 4 x 4, 100;
output 1 x 10, logits (before softmax). Convolutions have no padding, stride 1 and no bias: the normalisation that
follows brings its own.

The ONNX graph is written node by node rather than by torch's exporter: exporters fold the normalisation into the
convolution, and here it has to stay, since folding it is work that the merger shows and tests.

Not promised: the graph takes one image at a time (batch 1), as the private evaluation does.
"""

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 13
IR_VERSION = 7
BN_EPSILON = 1e-5


class MnistCnn(nn.Module):
    """The network; `forward` maps N x 1 x 28 x 28 to N x 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=BN_EPSILON)
        self.conv2 = nn.Conv2d(16, 16, 5, bias=False)
        self.bn2 = nn.BatchNorm2d(16, eps=BN_EPSILON)
        self.fc1 = nn.Linear(256, 100)
        self.fc2 = nn.Linear(100, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)["logits"]

    def layers(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer's output by name: what a quantiser has to represent."""
        out = {"bn1": self.bn1(self.conv1(x))}
        out["pool1"] = torch.max_pool2d(torch.relu(out["bn1"]), 2)
        out["bn2"] = self.bn2(self.conv2(out["pool1"]))
        out["pool2"] = torch.max_pool2d(torch.relu(out["bn2"]), 2)
        out["fc1"] = self.fc1(out["pool2"].flatten(1))
        out["logits"] = self.fc2(torch.relu(out["fc1"]))
        return out


def to_onnx(model: MnistCnn) -> onnx.ModelProto:
    """The network as an ONNX model (opset 13, IR version 7), normalisation left in, checked by onnx's checker."""
    weights = []

    def weight(name: str, value: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(value.detach().numpy().astype("float32"), name))
        return name

    def norm(name: str, source: str) -> onnx.NodeProto:
        bn = getattr(model, name)
        inputs = [
            source,
            weight(f"{name}.scale", bn.weight),
            weight(f"{name}.bias", bn.bias),
            weight(f"{name}.mean", bn.running_mean),
            weight(f"{name}.var", bn.running_var),
        ]
        return helper.make_node("BatchNormalization", inputs, [f"{name}_out"], name, epsilon=BN_EPSILON)

    def conv(name: str, source: str) -> onnx.NodeProto:
        inputs = [source, weight(f"{name}.weight", getattr(model, name).weight)]
        kind = {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
        return helper.make_node("Conv", inputs, [f"{name}_out"], name, **kind)

    def pool(name: str, source: str) -> onnx.NodeProto:
        kind = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
        return helper.make_node("MaxPool", [source], [f"{name}_out"], name, **kind)

    def relu(name: str, source: str) -> onnx.NodeProto:
        return helper.make_node("Relu", [source], [f"{name}_out"], name)

    def dense(name: str, source: str, output: str) -> onnx.NodeProto:
        layer = getattr(model, name)
        inputs = [source, weight(f"{name}.weight", layer.weight), weight(f"{name}.bias", layer.bias)]
        return helper.make_node("Gemm", inputs, [output], name, alpha=1.0, beta=1.0, transB=1)

    nodes = [
        conv("conv1", "image"),
        norm("bn1", "conv1_out"),
        relu("relu1", "bn1_out"),
        pool("pool1", "relu1_out"),
        conv("conv2", "pool1_out"),
        norm("bn2", "conv2_out"),
        relu("relu2", "bn2_out"),
        pool("pool2", "relu2_out"),
        helper.make_node("Flatten", ["pool2_out"], ["flatten_out"], "flatten", axis=1),
        dense("fc1", "flatten_out", "fc1_out"),
        relu("relu3", "fc1_out"),
        dense("fc2", "relu3_out", "logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "hushnet_mnist_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    proto.producer_name = "hushnet training/train_mnist_cnn.py"
    onnx.checker.check_model(proto, full_check=True)
    return proto
