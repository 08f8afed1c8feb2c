"""Draw the three figures of a finished quickstart run."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmtlalign.analysis.dense_figures import (  # noqa: E402
    Instances,
    draw_detection,
    draw_segmentation,
)
from mmtlalign.analysis.share_figure import ShareRow, draw_shares  # noqa: E402
from mmtlalign.engine.console import filter_known_warnings  # noqa: E402
from mmtlalign.engine.stages import last_checkpoint  # noqa: E402
from mmtlalign.mixing import TokenCutMix  # noqa: E402
from mmtlalign.tracing import trace  # noqa: E402

COLUMNS = 6
# Predictions below it are too many to draw; the scores of the table use all.
SURE = 0.3


def load(folder, count):
    """Rebuild a trained model and take the first validation pictures.

    Args:
        folder (Path): Work directory of the training run.
        count (int): Number of pictures.

    Returns:
        tuple: Config, model in evaluation mode, its preprocessed batch, and
        the pictures as they went in, (count, H, W, 3) uint8 RGB.
    """
    (path,) = folder.glob('*.py')
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    from mmengine.registry import MODELS

    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model)
    state = torch.load(last_checkpoint(folder), map_location='cpu', weights_only=False)
    model.load_state_dict(state['state_dict'])
    model.eval()
    cfg.val_dataloader.update(batch_size=count, num_workers=0)
    cfg.val_dataloader.pop('persistent_workers', None)
    if cfg.default_scope == 'mmpretrain':
        # Sorted by class: shuffled, so that two different digits meet.
        cfg.val_dataloader.sampler.shuffle = True
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    batch = next(iter(loader))
    pictures = torch.stack(list(batch['inputs'])).flip(1).permute(0, 2, 3, 1).numpy()
    return cfg, model, model.data_preprocessor(batch, False), pictures


def shares(folder, path, count=6):
    """Mix validation digits as in training and draw the way of the shares."""
    cfg, model, batch, pictures = load(folder, count)
    images = batch['inputs']
    labels = torch.eye(model.head.num_classes)[
        torch.cat([sample.gt_label for sample in batch['data_samples']])
    ]
    patch = cfg.model.backbone.patch_size
    # A box of about a third, off the left rim, shows most.
    for seed in range(1000):
        np.random.seed(seed)
        mix = TokenCutMix(alpha=1.0, patch_size=patch).mix(images, labels)
        if 0.25 < mix.area().mean() < 0.4 and not mix.mask[..., 0].any():
            break
    traced = trace(model.backbone, mix)
    names, block = [], {}
    for height, width in traced.grids:
        block[height] = block.get(height, 0) + 1
        names.append(f'stage {len(block)}, block {block[height]}\n{height}×{width}')
    rows = []
    for index in range(count // 2):
        partner = int(mix.partner[index])
        mask = mix.mask[0 if len(mix.mask) == 1 else index, 0, ..., None].numpy()
        mixed = np.where(mask > 0.5, pictures[partner], pictures[index])
        maps = [
            share[index, traced.prefix :, 0].reshape(grid).numpy()
            for share, grid in zip(traced.history, traced.grids)
        ]
        area = float(mix.area()[0 if len(mix.mask) == 1 else index])
        arrived = float(traced.output_shares('mean')[0][index])
        rows.append(
            ShareRow(pictures[index], pictures[partner], mixed, area, maps, arrived)
        )
    draw_shares(rows, names, path)


@torch.no_grad()
def segmentation(folder, path):
    """Segment the first validation canvases."""
    cfg, model, batch, pictures = load(folder, COLUMNS)
    samples = model.predict(batch['inputs'], batch['data_samples'])
    draw_segmentation(
        list(pictures),
        [sample.gt_sem_seg.data[0].numpy() for sample in samples],
        [sample.pred_sem_seg.data[0].numpy() for sample in samples],
        cfg.classes,
        path,
    )


@torch.no_grad()
def detection(folder, path):
    """Find the digits on the first validation canvases."""
    cfg, model, batch, pictures = load(folder, COLUMNS)
    samples = model.predict(batch['inputs'], batch['data_samples'])
    truths, predictions = [], []
    for sample in samples:
        truth, found = sample.gt_instances, sample.pred_instances
        found = found[found.scores >= SURE]
        truths.append(
            Instances(
                truth.bboxes.numpy(),
                truth.masks.to_ndarray().astype(bool),
                truth.labels.numpy(),
            )
        )
        predictions.append(
            Instances(
                found.bboxes.numpy(),
                found.masks.numpy(),
                found.labels.numpy(),
                found.scores.numpy(),
            )
        )
    draw_detection(list(pictures), truths, predictions, cfg.classes, path)


def main():
    """Draw the figures beside the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', type=Path, help='work_dirs/quickstart')
    args = parser.parse_args()
    filter_known_warnings()
    folder = args.work_dir
    shares(folder / 'pretrain-tlalign', folder / 'shares.png')
    segmentation(folder / 'segment-tlalign', folder / 'segmentation.png')
    detection(folder / 'detect-tlalign', folder / 'detection.png')


if __name__ == '__main__':
    main()
