"""Classifiers that label every cell of an image, not the image alone."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmtlalign.engine.errors import InputError

__all__ = ['Annotator', 'build_annotator']


@dataclass
class Annotator:
    """A classifier whose own head reads one cell at a time.

    Before pooling, the head sees each cell as if it were a whole image of equal
    cells. Where the head is linear and pools by the mean, the mean of the logits of
    all cells is what the classifier says of the image.

    Attributes:
        name: ``timm:NAME`` or ``mmpretrain:NAME``.
        model: The network, in eval mode.
        cells: Images (B, 3, H, W) to features of cells (B, h, w, C).
        head: Features (n, C) to logits (n, K).
        mean: Of RGB, in 0 to 1.
        std: Of RGB, in 0 to 1.
        flip_channels: Whether the network takes BGR.
    """

    name: str
    model: nn.Module
    cells: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip_channels: bool = False

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits of each cell.

        Args:
            images: RGB (B, 3, H, W) uint8, on the device of the model.

        Returns:
            (B, K, h, w) float32.
        """
        mean, std = (images.new_tensor(x, dtype=torch.float32) for x in self.stats)
        images = (images / 255 - mean[:, None, None]) / std[:, None, None]
        if self.flip_channels:
            images = images.flip(1)
        cells = self.cells(images)
        B, h, w, C = cells.shape
        logits = self.head(cells.reshape(-1, C)).float()
        return logits.view(B, h, w, -1).permute(0, 3, 1, 2)

    @property
    def stats(self) -> tuple:
        """Mean and standard deviation."""
        return self.mean, self.std

    def weights(self) -> str:
        """16 hexadecimal digits that change with any weight."""
        digest = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(plain.numpy())
        return digest.hexdigest()[:16]


def build_annotator(
    name: str,
    checkpoint: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Annotator:
    """Build a classifier of timm or of mmpretrain.

    Args:
        name: ``timm:NAME``, a name of ``timm.list_models()``, or ``mmpretrain:NAME``,
            a name of ``mmpretrain.list_models()`` or a config file.
        checkpoint: File with its weights. Defaults to None: those the library
            publishes.
        mean: Of RGB, in 0 to 1. Defaults to None: what the library says.
        std: As ``mean``.

    Raises:
        InputError: Another library, or a network whose cells are not known.
    """
    library, _, model = name.partition(':')
    if library not in ('timm', 'mmpretrain') or not model:
        raise InputError(f'annotator {name!r}: say timm:NAME or mmpretrain:NAME')
    build = _timm if library == 'timm' else _mmpretrain
    annotator = build(name, model, checkpoint)
    annotator.model.eval()
    annotator.mean, annotator.std = mean or annotator.mean, std or annotator.std
    return annotator


def _timm(name: str, model: str, checkpoint: str | None) -> Annotator:
    import timm

    if not timm.is_model(model):
        raise InputError(f'timm has no model {model!r}: see timm.list_models()')
    net = timm.create_model(
        model, pretrained=not checkpoint, checkpoint_path=checkpoint or ''
    )
    prefix = getattr(net, 'num_prefix_tokens', 0)
    channels_last = getattr(net, 'output_fmt', 'NCHW') == 'NHWC'
    form = {}

    def cells(images):
        feats = net.forward_features(images)
        form['ndim'] = feats.ndim
        if feats.ndim == 4:
            return feats if channels_last else feats.permute(0, 2, 3, 1)
        if feats.ndim != 3:
            raise InputError(f'{name} gives features of shape {tuple(feats.shape)}')
        tokens = feats[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        grid = (side, side)
        step = getattr(getattr(net, 'patch_embed', None), 'patch_size', None)
        if isinstance(step, tuple):
            grid = tuple(s // p for s, p in zip(images.shape[2:], step))
        if grid[0] * grid[1] != tokens.shape[1]:
            raise InputError(
                f'{name} gives {tokens.shape[1]} tokens, no grid {grid}: use another '
                'input size or annotator.'
            )
        return tokens.unflatten(1, grid)

    def head(features):
        if form['ndim'] == 3:
            # In the place of every token that the head may read.
            return net.forward_head(features[:, None].expand(-1, prefix + 1, -1))
        if channels_last:
            return net.forward_head(features[:, None, None])
        return net.forward_head(features[:, :, None, None])

    stats = net.pretrained_cfg
    return Annotator(name, net, cells, head, tuple(stats['mean']), tuple(stats['std']))


def _mmpretrain(name: str, model: str, checkpoint: str | None) -> Annotator:
    from mmpretrain import get_model

    net = get_model(model, pretrained=checkpoint or True)
    backbone = net.backbone
    pools_itself = hasattr(backbone, 'out_type')
    if pools_itself:
        backbone.out_type = 'featmap'

    def cells(images):
        feats = backbone(images)[-1]
        if not isinstance(feats, Tensor) or feats.ndim != 4:
            raise InputError(
                f'{name}: {type(backbone).__name__} gives no map (B, C, h, w), so its '
                'cells are not known. Use another annotator.'
            )
        return feats.permute(0, 2, 3, 1)

    def head(features):
        if not pools_itself:
            features = features[:, :, None, None]
        feats = (features,)
        return net.head(net.neck(feats) if net.with_neck else feats)

    prepare = net.data_preprocessor
    mean, std = (x.flatten().cpu() / 255 for x in (prepare.mean, prepare.std))
    # Statistics are in the order that the network takes; ours are in RGB.
    bgr = not prepare.to_rgb
    order = slice(None, None, -1) if bgr else slice(None)
    mean, std = tuple(mean.tolist()[order]), tuple(std.tolist()[order])
    return Annotator(name, net, cells, head, mean, std, flip_channels=bgr)
