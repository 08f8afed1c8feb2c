"""Draw the same pair of images under every mixer, as docs/mixing.md shows it.

    python tools/analysis_tools/draw_mixers.py docs/images/mixers.png

The images are handwritten digits (tools/demo/digits.py). Mixers that need saliency get
the position of the ink instead of a network's attention. For each mixer the figure
shows the first draw whose share of the partner is between a fifth and a half.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

# Imports of PyTorch come after the command line is read.
if TYPE_CHECKING:
    from torch import Tensor

    from mmtlalign.mixing.mix import Mix

SIZE, TOKEN, COLUMNS = 112, 16, 7
SHARES = 0.2, 0.5


def mixers() -> dict[str, Any]:
    """Return the mixers of the figure by title."""
    from mmtlalign import mixing

    flip = dict(pairing='flip')
    return {
        'CutMix': mixing.CutMix(),
        'TokenCutMix': mixing.TokenCutMix(patch_size=TOKEN),
        'ResizeMix': mixing.ResizeMix(),
        'Mixup': mixing.Mixup(alpha=1.0),
        'FMix': mixing.FMix(),
        'GridMix': mixing.GridMix(),
        'TokenMix': mixing.TokenMix(patch_size=TOKEN),
        'MaskMix': mixing.MaskMix(cell=TOKEN, **flip),
        'Attentive CutMix': mixing.AttentiveCutMix(cells=(7, 7), top_k=12, **flip),
        'SaliencyMix': mixing.SaliencyMix(mode='elem', **flip),
        'Puzzle Mix': mixing.PuzzleMix(blocks=(7,), **flip),
        'SMMix': mixing.SMMix(patch_size=TOKEN),
    }


def paint_pair(seed: int = 5) -> tuple['Tensor', 'Tensor']:
    """Paint two digits, and return where their ink is.

    Returns:
        Images (2, 3, H, W) from 0 to 1, and the share of ink in each token (2, h, w).
    """
    import torch

    from tools.demo.digits import load_digits, paint_canvas

    digits, rng = load_digits('train'), np.random.default_rng(seed)
    painted = [paint_canvas(digits, SIZE, rng, (1, 1), (0.7, 0.7)) for _ in range(2)]
    images = np.stack([canvas.image for canvas in painted])
    ink = np.stack([canvas.masks.any(axis=0) for canvas in painted])
    cells = ink.reshape(2, SIZE // TOKEN, TOKEN, SIZE // TOKEN, TOKEN).mean((2, 4))
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(cells).float()


def mix_pair(mixer: Any, images: 'Tensor', ink: 'Tensor') -> 'Mix':
    """Mix two images by the first draw whose share suits the figure."""
    import torch

    from mmtlalign.mixing import GuideOutput

    guide_output = GuideOutput(ink, pictures=images)
    for seed in range(1000):
        np.random.seed(seed)
        torch.manual_seed(seed)
        mix = mixer.mix(images.clone(), torch.eye(2), guide=lambda *_: guide_output)
        if SHARES[0] <= mix.area()[0] <= SHARES[1]:
            return mix
    raise RuntimeError(f'{type(mixer).__name__} has no share between {SHARES}.')


def draw(path: Path) -> dict[str, float]:
    """Draw the figure.

    Args:
        path: PNG file.

    Returns:
        The partner's share by mixer.
    """
    from tools.analysis_tools.style import new_figure

    images, ink = paint_pair()
    shown = [('own image', images[0], None), ('its partner', images[1], None)]
    for title, mixer in mixers().items():
        mix = mix_pair(mixer, images, ink)
        shown.append((title, mix.images[0], float(mix.area()[0])))
    rows = -(-len(shown) // COLUMNS)
    title = 'One pair of images under every mixer'
    figure, axes = new_figure(rows, COLUMNS, title, above=0.55, below=0.05, gap=0.2)
    for axis, (name, image, share) in zip(axes.flat, shown):
        axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
        label = name if share is None else f'{name}, {share:.2f}'
        axis.set_title(label, fontsize=8, pad=3)
    figure.savefig(path)
    return {name: share for name, _, share in shown if share is not None}


def main(arguments: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='PNG file')
    options = parser.parse_args(arguments)
    if options.out.suffix != '.png':
        parser.error(f'{options.out}: takes a file that ends with .png')
    for name, share in draw(options.out).items():
        print(f'{name:20} {share:.3f}')


if __name__ == '__main__':
    main()
