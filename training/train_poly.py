"""Trains a network with quadratic activations on MNIST or Fashion-MNIST and writes it as ONNX.

What: stochastic gradient descent with Nesterov momentum, cosine learning rate with a short warm-up, weight decay on
convolutions and the last layer, light augmentation (mnist_data.py), and a penalty on values that enter a quadratic
further than `--band` standard deviations from their mean. The penalty is what makes quadratics behave: training is
stable, and no image drives a value far out of the range that a fixed-point format was calibrated to. One run, one
seed, one thread: the same machine and the same versions give the same file.

Data: the 60,000 training images alone. 5,000 of them, drawn by the seed, are held out for choosing settings; with
--test the test images are looked at once, after the last step, to report the accuracy. The weights of the last step are
taken; no epoch is picked.

Usage: python train_poly.py mnist|fashion-mnist --out FILE.onnx [--data FOLDER] [--seed N] [--epochs N] [--widths A,B,C]
[--penalty L] [--band S] [--test]
Prints the accuracy on each part, measured with onnxruntime on the written file; the largest difference between the
logits of torch and onnxruntime; and per quadratic the largest number that is squared over the training images, in its
standard deviations.

Not promised: bit-equal weights on another processor or with another version of torch.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F

import mnist_data
from poly_network import FORMS, PolyNet, to_onnx
from train_mnist_cnn import HELD_OUT, learning_rate_curve

BATCH = 128
MOMENTUM = 0.9
GRADIENT_NORM = 2.0
CHUNK = 1000
AUGMENT = {"mnist": mnist_data.augment_half, "fashion-mnist": mnist_data.augment_fashion}
Part = tuple[torch.Tensor, torch.Tensor]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)

    images, labels = mnist_data.load("train", arguments.data_set, arguments.data)
    order = torch.randperm(len(images), generator=generator)
    held_out, kept = order[:HELD_OUT], order[HELD_OUT:]
    train = (images[kept], labels[kept])
    validation = (images[held_out], labels[held_out])

    started = time.monotonic()
    model = fit(train, validation, arguments, generator)
    print(f"trained in {time.monotonic() - started:.0f} s")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(model, f"hushnet_{arguments.data_set.replace('-', '_')}_poly"), arguments.out)
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size} bytes)")

    report("held out", arguments.out, model, validation)
    if arguments.test:
        report("train", arguments.out, model, train)
        test = mnist_data.load("t10k-first5000", arguments.data_set, arguments.data)
        report("test, first 5000", arguments.out, model, test)
    report_ranges(model, train[0])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains a network with quadratic activations.")
    parser.add_argument("data_set", choices=sorted(AUGMENT))
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--data", type=Path, help="folder of mnist/ and fashion-mnist/ (else $HUSHNET_DATA)")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--widths", type=widths, default=(16, 32, 48), help="channels of the convolutions")
    parser.add_argument("--rate", type=float, default=0.05, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=5e-4, help="weight decay")
    parser.add_argument("--penalty", type=float, default=1.0, help="factor of what leaves the band")
    parser.add_argument("--band", type=float, default=4.0, help="standard deviations that cost nothing")
    parser.add_argument("--test", action="store_true", help="report the test images too, once settings are chosen")
    return parser.parse_args()


def widths(text: str) -> tuple[int, int, int]:
    """Three numbers from `A,B,C`."""
    first, second, third = (int(part) for part in text.split(","))
    return first, second, third


def fit(train: Part, validation: Part, arguments: argparse.Namespace, generator: torch.Generator) -> PolyNet:
    """The trained network; prints loss, penalty and held-out accuracy after every epoch."""
    images, labels = train
    augment = AUGMENT[arguments.data_set]
    model = PolyNet(arguments.widths, arguments.form)
    # The quadratics' coefficients stay out of the decay: shrinking them would bend the functions towards a constant.
    decayed = [*model.convs.parameters(), *model.fc.parameters()]
    groups = [
        {"params": decayed, "weight_decay": arguments.decay},
        {"params": [p for p in model.quadratics.parameters() if p.requires_grad], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=arguments.rate, momentum=MOMENTUM, nesterov=True)
    steps_per_epoch = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_curve(arguments.epochs * steps_per_epoch))
    for epoch in range(arguments.epochs):
        started, total, excess = time.monotonic(), 0.0, 0.0
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps_per_epoch):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            outputs = model(augment(images[chosen], generator))
            loss = F.cross_entropy(outputs.logits, labels[chosen])
            penalty = arguments.penalty * outputs.excess(arguments.band)
            optimizer.zero_grad()
            (loss + penalty).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            total += loss.item()
            excess += penalty.item()
        right = accuracy(model, validation)
        print(
            f"epoch {epoch + 1}: loss {total / steps_per_epoch:.4f}, penalty {excess / steps_per_epoch:.4f}, "
            f"held-out {100 * right:.2f} %, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return model.eval()


@torch.no_grad()
def accuracy(model: PolyNet, part: Part) -> float:
    """The share of a part's images that get their label."""
    model.eval()
    right = sum(
        int((model(images).logits.argmax(1) == labels).sum())
        for images, labels in zip(part[0].split(CHUNK), part[1].split(CHUNK))
    )
    return right / len(part[1])


def report(name: str, path: Path, model: PolyNet, part: Part) -> None:
    """Prints the accuracy of the ONNX file on one part, and how far its logits are from torch's."""
    images, labels = part
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Unoptimised, so that the file is run as written: optimisation would fold the normalisation away.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"image": image[None].numpy()})[0] for image in images])
    with torch.no_grad():
        reference = torch.cat([model(chunk).logits for chunk in images.split(CHUNK)]).numpy()
    right = int((logits.argmax(1) == labels.numpy()).sum())
    difference = float(np.abs(logits - reference).max())
    print(
        f"{name}: {right} of {len(labels)} right, {100 * right / len(labels):.2f} % (onnxruntime); "
        f"largest logit difference to torch {difference:.2e}"
    )


@torch.no_grad()
def report_ranges(model: PolyNet, images: torch.Tensor) -> None:
    """Prints per quadratic the largest x + d over all images, against its standard deviation in the whole layer."""
    layers = len(model.quadratics)
    largest, leaving, logits = [0.0] * layers, [0.0] * layers, 0.0
    moments = torch.zeros(layers, 3, dtype=torch.float64)
    for chunk in images.split(CHUNK):
        outputs = model(chunk)
        logits = max(logits, outputs.logits.abs().max().item())
        for i, (entered, quadratic) in enumerate(zip(outputs.entered, model.quadratics)):
            largest[i] = max(largest[i], entered.abs().max().item())
            leaving[i] = max(leaving[i], quadratic(entered - quadratic.d).abs().max().item())
            exact = entered.double()
            moments[i] += torch.stack([torch.tensor(exact.numel()), exact.sum(), exact.square().sum()])
    for i, (count, first, second) in enumerate(moments.tolist()):
        deviation = (second / count - (first / count) ** 2) ** 0.5
        print(
            f"quadratic {i + 1}: largest |x + d| {largest[i]:.2f}, mean {first / count:.2f}, standard deviation "
            f"{deviation:.2f}, ratio {largest[i] / deviation:.1f}; largest result {leaving[i]:.2f}"
        )
    print(f"largest logit {logits:.2f}")


if __name__ == "__main__":
    main()
