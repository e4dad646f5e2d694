"""Trains the MNIST network of the demonstration and writes it as ONNX.

What: stochastic gradient descent with Nesterov momentum, cosine learning rate with a short warm-up, weight decay on
every weight (which keeps the activations, and so the fixed-point ranges, small), light augmentation (mnist_data.py).
One run, one seed, one thread: the same machine and the same versions give the same file.

Data: the 60,000 training images alone. 5,000 of them, drawn by the seed, are held out for choosing the settings below;
the test images are looked at once, after the last step, to report the accuracy, and never to choose anything.

Usage: python train_mnist_cnn.py [--epochs 40] [--seed 20261121] [--output ../cli/assets/mnist_cnn.onnx] [--no-test]
Prints the accuracy on the three parts, measured with onnxruntime on the written file; the largest difference between
the logits of torch and of onnxruntime; and the range of every layer's output.

Not promised: bit-equal weights on another processor or with another version of torch.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F

import mnist_data
from network import MnistCnn, to_onnx

BATCH = 128
LEARNING_RATE = 0.1
WARM_UP_STEPS = 200
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
HELD_OUT = 5_000
DEFAULT_OUTPUT = Path(__file__).resolve().parents[1] / "cli" / "assets" / "mnist_cnn.onnx"


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)

    images, labels = mnist_data.load("train")
    order = torch.randperm(len(images), generator=generator)
    held_out, kept = order[:HELD_OUT], order[HELD_OUT:]
    train = (images[kept], labels[kept])
    validation = (images[held_out], labels[held_out])

    model = fit(train, validation, arguments.epochs, generator)
    model.eval()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(model), arguments.output)
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size} bytes)")

    report("train", arguments.output, model, train)
    report("validation", arguments.output, model, validation)
    if not arguments.no_test:
        report("test (t10k, first 5000)", arguments.output, model, mnist_data.load("t10k-first5000"))
    report_ranges(model, train[0][:5000])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the MNIST network of the demonstration.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--no-test", action="store_true", help="leave the test images alone, for choosing settings")
    return parser.parse_args()


def fit(
    train: tuple[torch.Tensor, torch.Tensor],
    validation: tuple[torch.Tensor, torch.Tensor],
    epochs: int,
    generator: torch.Generator,
) -> MnistCnn:
    """The trained network; prints loss and held-out accuracy after every epoch."""
    images, labels = train
    model = MnistCnn()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps_per_epoch = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_curve(epochs * steps_per_epoch))
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps_per_epoch):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            loss = F.cross_entropy(model(mnist_data.augment(images[chosen], generator)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            right = (model(validation[0]).argmax(1) == validation[1]).float().mean().item()
        seconds = time.monotonic() - started
        mean_loss = total / steps_per_epoch
        print(f"epoch {epoch + 1}: loss {mean_loss:.4f}, held-out {100 * right:.2f} %, {seconds:.0f} s", flush=True)
    return model


def learning_rate_curve(steps: int):
    """Factor of the learning rate at a step: linear warm-up, then half a cosine down to 0."""

    def factor(step: int) -> float:
        if step < WARM_UP_STEPS:
            return (step + 1) / WARM_UP_STEPS
        return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)))

    return factor


def report(name: str, path: Path, model: MnistCnn, part: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Prints the accuracy of the ONNX file on one part, and how far its logits are from torch's."""
    images, labels = part
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Unoptimised, so that the file is run as written: optimisation would fold the normalisation away.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"image": image[None].numpy()})[0] for image in images])
    with torch.no_grad():
        reference = torch.cat([model(chunk) for chunk in images.split(1000)]).numpy()
    right = int((logits.argmax(1) == labels.numpy()).sum())
    difference = float(np.abs(logits - reference).max())
    print(
        f"{name}: {right} of {len(labels)} right, {100 * right / len(labels):.2f} % (onnxruntime); "
        f"largest logit difference to torch {difference:.2e}"
    )


def report_ranges(model: MnistCnn, images: torch.Tensor) -> None:
    """Prints the range of every layer's output on training images, before and after activation as `layers` names it."""
    with torch.no_grad():
        outputs = model.layers(images)
    for name, value in outputs.items():
        print(f"range of {name}: {value.min().item():.2f} .. {value.max().item():.2f}")


if __name__ == "__main__":
    main()
