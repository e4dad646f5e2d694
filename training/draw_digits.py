"""Draws the sample digits of the demonstration: sixteen numerals written for this project, in no data set.

What: each drawing is a list of pen strokes, given below as points on a page whose y axis points down. A stroke is a
smooth curve through its points (centripetal Catmull-Rom: P. J. Barry, R. N. Goldman, "A recursive evaluation
algorithm for a class of Catmull-Rom splines", SIGGRAPH 1988; the centripetal knots are those of C. Yuksel, S. Schaefer,
J. Keyser, "Parameterization and applications of Catmull-Rom curves", CAD 2011); a stroke that begins where the last
one ended makes a corner. The pen trembles slowly and its pressure varies, both seeded by the label and the variant.

Framing is MNIST's: the ink is fitted into a 20 x 20 box with its proportions kept, and its centre of mass is put in the
middle of the 28 x 28 field. Output: 8-bit grey PNG, 28 x 28, white ink (255) on black (0), edges anti-aliased by
drawing at 8 x 8 samples per pixel.

Usage: python draw_digits.py [--output ../cli/assets/digits] [--sheet SHEET.png] [--model ../cli/assets/mnist_cnn.onnx]
With --sheet, an enlarged contact sheet; with --model, every drawing is classified and the run fails unless all labels
are right.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FIELD = 28
BOX = 20.0
SAMPLES = 8
WOBBLE = 0.9
ASSETS = Path(__file__).resolve().parents[1] / "cli" / "assets"


@dataclass(frozen=True)
class Drawing:
    """One numeral: its label, a letter for the variant, the pen's width in pixels of the final image, and the
    strokes, each as its points "x,y x,y ..." on a page of about 80 x 100."""

    label: int
    variant: str
    pen: float
    strokes: list[str]


DRAWINGS = [
    # An egg, leaning right, closed a little beyond its beginning.
    Drawing(0, "a", 2.4, ["58,6 36,9 17,33 12,62 24,88 46,92 66,72 74,40 66,14 50,6 40,12"]),
    # A hurried one, with the end of the loop running into the body.
    Drawing(0, "b", 2.1, ["44,10 22,22 10,52 18,84 44,94 70,78 80,46 70,18 46,8 34,20 44,30"]),
    # A single slanting stroke.
    Drawing(1, "a", 2.6, ["60,4 55,30 47,62 40,96"]),
    # With an upstroke, as on the Continent.
    Drawing(1, "b", 2.2, ["36,26 48,17 58,4", "58,4 54,36 48,68 44,97"]),
    # A loop at the foot.
    Drawing(2, "a", 2.3, ["14,26 26,8 48,4 62,18 58,40 42,64 20,90 4,92 2,78 16,72 36,84 56,92 82,84"]),
    # A sharp foot and a flat base.
    Drawing(2, "b", 2.5, ["14,24 30,7 54,8 64,26 54,50 34,72 12,92", "12,92 36,88 72,91"]),
    Drawing(3, "a", 2.4, ["18,14 38,4 60,12 61,30 44,44 31,47", "31,47 52,48 68,62 66,82 46,95 24,92 10,80"]),
    # Open, in two strokes.
    Drawing(4, "a", 2.3, ["30,6 24,26 13,52 16,58 42,56 74,50", "60,14 56,42 52,70 50,98"]),
    # Closed at the top.
    Drawing(4, "b", 2.2, ["62,5 42,26 22,46 9,63", "9,63 38,65 80,61", "62,5 59,40 55,72 54,98"]),
    # The hat drawn last.
    Drawing(5, "a", 2.3, ["26,10 23,28 20,46", "20,46 38,39 58,47 66,66 56,86 34,95 12,88", "26,10 46,10 72,5"]),
    Drawing(6, "a", 2.3, ["60,4 40,18 22,44 14,72 24,92 46,94 61,78 56,60 38,56 22,68 17,80"]),
    Drawing(7, "a", 2.4, ["12,14 38,11 70,8", "70,8 58,36 44,66 36,97"]),
    # With a bar through the stem.
    Drawing(7, "b", 2.2, ["13,20 15,10 42,11 70,7", "70,7 60,34 46,64 40,97", "30,52 48,50 68,46"]),
    # One stroke, beginning at the upper right.
    Drawing(8, "a", 2.2, ["62,16 46,5 27,12 25,30 42,46 60,62 62,84 42,96 22,86 22,68 40,50 60,33 66,20 60,12"]),
    Drawing(9, "a", 2.3, ["64,20 48,6 27,14 19,34 30,49 48,43 62,24", "64,18 61,46 54,74 46,97"]),
    # With a hooked tail.
    Drawing(9, "b", 2.4, ["66,24 52,8 30,12 18,32 28,50 50,44 65,26", "66,22 68,52 60,82 40,96 20,86"]),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the sample digits of the demonstration.")
    parser.add_argument("--output", type=Path, default=ASSETS / "digits")
    parser.add_argument("--sheet", type=Path, help="also write an enlarged contact sheet here")
    parser.add_argument("--model", type=Path, help="classify every drawing with this ONNX network")
    arguments = parser.parse_args()

    arguments.output.mkdir(parents=True, exist_ok=True)
    images = []
    for drawing in DRAWINGS:
        pixels = render(drawing)
        images.append(pixels)
        path = arguments.output / f"digit_{drawing.label}_{drawing.variant}.png"
        Image.fromarray(pixels).save(path, optimize=True)
    print(f"wrote {len(images)} drawings to {arguments.output}")
    if arguments.sheet is not None:
        contact_sheet(images).save(arguments.sheet)
        print(f"wrote {arguments.sheet}")
    if arguments.model is not None and not classify(arguments.model, images):
        sys.exit("some drawing is not recognised")


def render(drawing: Drawing) -> np.ndarray:
    """The drawing as 28 x 28 uint8, framed as MNIST frames its images."""
    noise = np.random.default_rng([drawing.label, ord(drawing.variant)])
    curves, radii = [], []
    for stroke in drawing.strokes:
        corners = np.array([point.split(",") for point in stroke.split()], float)
        curve = tremble(spline(corners), noise)
        curves.append(curve)
        radii.append(drawing.pen / 2 * pressure(len(curve), noise))
    points, radius = np.concatenate(curves), np.concatenate(radii)

    # Fit the ink (the pen's width included) into the box, then move its centre of mass to the middle.
    low, high = points.min(0), points.max(0)
    scale = (BOX - drawing.pen) / (high - low).max()
    points = (points - (low + high) / 2) * scale + FIELD / 2
    for _ in range(2):
        points += FIELD / 2 - centre_of_mass(rasterise(points, radius))
    return np.rint(rasterise(points, radius) * 255).astype(np.uint8)


def spline(points: np.ndarray) -> np.ndarray:
    """A centripetal Catmull-Rom curve through all the points (n x 2), about one sample per unit of the page."""
    first, last = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p = np.vstack([first, points, last])
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        t0 = 0.0
        t1 = t0 + np.sqrt(np.linalg.norm(b - a))
        t2 = t1 + np.sqrt(np.linalg.norm(c - b))
        t3 = t2 + np.sqrt(np.linalg.norm(d - c))
        count = max(4, int(np.linalg.norm(c - b)))
        t = np.linspace(t1, t2, count, endpoint=False)[:, None]
        a1 = (t1 - t) / (t1 - t0) * a + (t - t0) / (t1 - t0) * b
        a2 = (t2 - t) / (t2 - t1) * b + (t - t1) / (t2 - t1) * c
        a3 = (t3 - t) / (t3 - t2) * c + (t - t2) / (t3 - t2) * d
        b1 = (t2 - t) / (t2 - t0) * a1 + (t - t0) / (t2 - t0) * a2
        b2 = (t3 - t) / (t3 - t1) * a2 + (t - t1) / (t3 - t1) * a3
        pieces.append((t2 - t) / (t2 - t1) * b1 + (t - t1) / (t2 - t1) * b2)
    pieces.append(points[-1:])
    return np.vstack(pieces)


def tremble(curve: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """The curve moved by a slow, smooth wander of about `WOBBLE` units of the page."""
    return curve + WOBBLE * np.stack([slow_noise(len(curve), noise), slow_noise(len(curve), noise)], 1)


def pressure(count: int, noise: np.random.Generator) -> np.ndarray:
    """Width factors along a stroke: lighter where the pen lands and lifts, uneven in between; within 0.65..1.2."""
    t = np.linspace(0, 1, count)
    ends = 1 - 0.3 * np.exp(-t / 0.06) - 0.3 * np.exp(-(1 - t) / 0.08)
    return np.clip(ends + 0.07 * slow_noise(count, noise), 0.65, 1.2)


def slow_noise(count: int, noise: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit size: knots every 18 samples, joined by cosine arcs."""
    knots = noise.normal(size=count // 18 + 2)
    position = np.arange(count) / 18
    index = position.astype(int)
    blend = (1 - np.cos(np.pi * (position - index))) / 2
    return knots[index] * (1 - blend) + knots[index + 1] * blend


def rasterise(points: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Ink per pixel (28 x 28, 0..1): the share of a pixel's 8 x 8 samples that some disc of the pen covers."""
    axis = (np.arange(FIELD * SAMPLES) + 0.5) / SAMPLES
    covered = np.zeros((len(axis), len(axis)), bool)
    for (x, y), r in zip(points, radius):
        covered |= (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2 <= r * r
    return covered.reshape(FIELD, SAMPLES, FIELD, SAMPLES).mean(axis=(1, 3))


def centre_of_mass(ink: np.ndarray) -> np.ndarray:
    """The ink's centre (x, y), in pixels from the upper left corner of the field."""
    axis = np.arange(FIELD) + 0.5
    return np.array([(ink.sum(0) * axis).sum(), (ink.sum(1) * axis).sum()]) / ink.sum()


def contact_sheet(images: list[np.ndarray], zoom: int = 6, columns: int = 6) -> Image.Image:
    """All images enlarged without smoothing, six a row, thin grey lines between them."""
    cell = FIELD * zoom + 4
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * cell, rows * cell), 90)
    for index, pixels in enumerate(images):
        tile = Image.fromarray(pixels).resize((FIELD * zoom, FIELD * zoom), Image.Resampling.NEAREST)
        sheet.paste(tile, (index % columns * cell + 2, index // columns * cell + 2))
    return sheet


def classify(model: Path, images: list[np.ndarray]) -> bool:
    """Prints the network's answer to every drawing; true if all are right."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    all_right = True
    for drawing, pixels in zip(DRAWINGS, images):
        logits = session.run(None, {name: pixels.astype(np.float32)[None, None] / 255})[0][0]
        second, first = np.sort(logits)[-2:]
        label, right = int(logits.argmax()), int(logits.argmax()) == drawing.label
        all_right &= right
        mark = "" if right else "   WRONG"
        print(f"digit_{drawing.label}_{drawing.variant}: {label}, ahead of the next by {first - second:.2f}{mark}")
    return all_right


if __name__ == "__main__":
    main()
