"""Reading the idx files of MNIST and Fashion-MNIST, and the augmentation of training batches.

What: `load` reads one idx image/label pair (gzip or plain); `augment` distorts a batch of digits a little, so that
the network also recognises digits that were not scanned for MNIST (other pens, other hands, slightly off centre);
`augment_fashion` moves and mirrors garments.

Source: the idx format and the digits are those of Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten
digits" (CC BY-SA 3.0), the garments those of H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for
benchmarking machine learning algorithms", arXiv:1708.07747 (MIT licence). No file of either is kept in this
repository: see README.md for where they are looked for.

Shapes and ranges: images are float32, N x 1 x 28 x 28, x / 255, so within 0..1, white ink (1) on black (0); labels are
int64, N, 0..9. Augmented images keep both.

Not promised: checksums of the data set are not verified here; a wrong file shows as a wrong accuracy.
"""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

IMAGE_MAGIC = 0x0803
LABEL_MAGIC = 0x0801
FASHION_SHIFT = 1


def data_folder() -> Path:
    """The folder that holds mnist/ and fashion-mnist/: $HUSHNET_DATA, else ../shared/data beside the repository."""
    root = os.environ.get("HUSHNET_DATA")
    if root is None:
        root = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(root)


def load(stem: str, data_set: str = "mnist", root: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N x 1 x 28 x 28, float32 in 0..1) and labels (N, int64) of `{stem}-images/labels-idx?-ubyte[.gz]` in the
    data set's folder under `root` (`data_folder()` unless given)."""
    folder = (root or data_folder()) / data_set
    image_bytes = _read(folder, f"{stem}-images-idx3-ubyte")
    magic, count, rows, columns = struct.unpack_from(">IIII", image_bytes)
    if magic != IMAGE_MAGIC or (rows, columns) != (28, 28):
        raise ValueError(f"{stem}: not an idx file of 28 x 28 images (magic {magic:#x}, {rows} x {columns})")
    label_bytes = _read(folder, f"{stem}-labels-idx1-ubyte")
    label_magic, label_count = struct.unpack_from(">II", label_bytes)
    if label_magic != LABEL_MAGIC or label_count != count:
        raise ValueError(f"{stem}: {count} images, but labels with magic {label_magic:#x} and count {label_count}")
    pixels = np.frombuffer(image_bytes, np.uint8, count=count * 784, offset=16).reshape(count, 1, 28, 28)
    labels = np.frombuffer(label_bytes, np.uint8, count=count, offset=8)
    return torch.from_numpy(pixels.astype(np.float32) / 255.0), torch.from_numpy(labels.astype(np.int64))


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A distorted copy of a batch: rotation within 12 degrees, scale within 12 % (each axis), shear within 0.15,
    shift within 2 pixels, strokes somewhat thicker or thinner. Same shape, still within 0..1."""
    n = images.shape[0]

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle, shear = uniform(12 * np.pi / 180), uniform(0.15)
    scale_x, scale_y = 1 + uniform(0.12), 1 + uniform(0.12)
    # Offsets are in units of half the image (14 pixels), as affine_grid counts them.
    shift_x, shift_y = uniform(2 / 14), uniform(2 / 14)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos / scale_x, (shear - sin) / scale_x, shift_x], 1),
            torch.stack([sin / scale_y, cos / scale_y, shift_y], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    # Thickness: a blend towards the 3 x 3 maximum (thicker) or minimum (thinner). Strokes are often no wider than those
    # 3 pixels and then fade as well, as a light pen's do.
    weight = uniform(0.7).view(n, 1, 1, 1)
    thick = F.max_pool2d(warped, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-warped, 3, stride=1, padding=1)
    blended = torch.where(weight > 0, torch.lerp(warped, thick, weight), torch.lerp(warped, thin, -weight))
    # A thinned hairline can vanish: such strokes keep their own thickness.
    keeps = blended.amax(dim=(1, 2, 3), keepdim=True) > 0.5
    return torch.where(keeps, blended, warped)


def augment_half(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The first half of a batch as it is, the second half distorted by `augment`: for networks whose normalisation must
    see the images that will be classified, since their activations carry a shift of the statistics on squared."""
    half = len(images) // 2
    return torch.cat([images[:half], augment(images[half:], generator)])


def augment_fashion(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A moved copy of a batch: half of the garments mirrored, every one shifted by up to FASHION_SHIFT pixels each
    way, what enters being black. Same shape, still within 0..1."""
    n, _, height, width = images.shape
    mirrored = torch.rand(n, generator=generator) < 0.5
    images = torch.where(mirrored.view(n, 1, 1, 1), images.flip(3), images)
    padded = F.pad(images, (FASHION_SHIFT,) * 4).squeeze(1)
    shift = torch.randint(0, 2 * FASHION_SHIFT + 1, (2, n), generator=generator)
    rows = shift[0].view(n, 1, 1) + torch.arange(height).view(1, height, 1)
    columns = shift[1].view(n, 1, 1) + torch.arange(width).view(1, 1, width)
    return padded[torch.arange(n).view(n, 1, 1), rows, columns].unsqueeze(1)


def _read(folder: Path, name: str) -> bytes:
    packed, plain = folder / f"{name}.gz", folder / name
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    if plain.exists():
        return plain.read_bytes()
    raise FileNotFoundError(f"{packed} not found (nor unpacked); set HUSHNET_DATA to the folder above")
