"""Figures of trained models: shares, label maps, boxes."""

from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmtlalign.checkpoint.io import read_tensors
from mmtlalign.compat.run_checkpoints import POINTER, last_checkpoint
from mmtlalign.engine.console import import_host
from mmtlalign.errors import InputError
from mmtlalign.evaluation.pictures import is_bgr
from mmtlalign.evaluation.readers import output_of
from mmtlalign.mixing.token_mix import TokenCutMix
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import trace
from tools.analysis_tools.dense_figures import (
    Instances,
    draw_detection,
    draw_segmentation,
)
from tools.analysis_tools.share_figure import ShareRow, draw_shares

COLUMNS = 6


def draw_run(folder: Path, path: Path) -> None:
    """Draw the figure that suits the task of a finished run.

    Pretraining: how the share of a pasted box moves from layer to layer.
    Segmentation and detection: ground truth and predictions of some validation images.

    Args:
        folder: Work directory of a run of ``tools/train.py``.
        path: PNG file.

    Raises:
        InputError: The folder does not have one config, or it has no checkpoint.
    """
    configs, weights = list(folder.glob('*.py')), last_checkpoint(folder)
    if len(configs) != 1:
        raise InputError(
            f'{folder} has {len(configs)} configs (*.py): name the work directory of '
            'one run'
        )
    if weights is None:
        raise InputError(
            f'{folder} has no checkpoint that its file {POINTER} names: name the work '
            'directory of a finished run'
        )
    cfg = Config.fromfile(configs[0])
    import_host(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model)
    advice = 'Train the run to its end.'
    model.load_state_dict(read_tensors(str(weights), 'FOLDER', advice))
    model.eval()
    figures = dict(
        mmpretrain=draw_run_shares,
        mmseg=draw_run_segmentation,
        mmdet=draw_run_detection,
    )
    figures[cfg.default_scope](cfg, model, path)


def validation_batch(cfg: Config, count: int) -> tuple[dict, Any]:
    """Return images of the validation split, evenly spread, and their data set.

    The batch is as the data loader would give it; neighbours are often alike.
    """
    cfg.val_dataloader.update(batch_size=count, num_workers=0)
    cfg.val_dataloader.pop('persistent_workers', None)
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    indices = np.linspace(0, len(loader.dataset) - 1, count).astype(int)
    batch = loader.collate_fn([loader.dataset[int(index)] for index in indices])
    return batch, loader.dataset


def draw_run_shares(
    cfg: Config, model: torch.nn.Module, path: Path, count: int = 6
) -> None:
    """Mix ``count`` validation images as in training, and draw their shares."""
    batch, dataset = validation_batch(cfg, count)
    pictures = torch.stack(list(batch['inputs'])).permute(0, 2, 3, 1).numpy()
    if is_bgr(dataset):
        pictures = pictures[..., ::-1]
    batch = model.data_preprocessor(batch, False)
    images = batch['inputs']
    labels = torch.eye(model.head.num_classes)[
        torch.cat([sample.gt_label for sample in batch['data_samples']])
    ]
    patch = backbone_spec(model.backbone).patch(model.backbone)[0]
    # A box of about a third, off the left rim, shows most.
    for seed in range(1000):
        np.random.seed(seed)
        mix = TokenCutMix(alpha=1.0, patch_size=patch).mix(images, labels)
        if 0.25 < mix.area().mean() < 0.4 and not mix.mask[..., 0].any():
            break
    with torch.no_grad(), trace(model.backbone, mix) as traced:
        model.backbone(mix.images)
    names, block, stage = [], 0, 0
    for number, grid in enumerate(traced.grids):
        new = number == 0 or grid != traced.grids[number - 1]
        stage, block = (stage + 1, 1) if new else (stage, block + 1)
        names.append(f'stage {stage}, block {block}\n{grid[0]}×{grid[1]}')
    rows = []
    for index in range(count // 2):
        partner = int(mix.partner[index])
        mask = mix.mask[0 if len(mix.mask) == 1 else index, 0, ..., None].numpy()
        mixed = np.where(mask > 0.5, pictures[partner], pictures[index])
        maps = [
            share[index, prefix:, 0].reshape(grid).numpy()
            for share, grid, prefix in zip(
                traced.history, traced.grids, traced.prefixes
            )
        ]
        area = float(mix.area()[0 if len(mix.mask) == 1 else index])
        arrived = float(traced.output_shares(output_of(model))[0][index])
        rows.append(
            ShareRow(pictures[index], pictures[partner], mixed, area, maps, arrived)
        )
    draw_shares(rows, names, path)


@torch.no_grad()
def draw_run_segmentation(cfg: Config, model: torch.nn.Module, path: Path) -> None:
    """Draw the label maps of some validation images, true and predicted."""
    batch, dataset = validation_batch(cfg, COLUMNS)
    data = model.data_preprocessor(batch, False)
    samples = model.predict(data['inputs'], data['data_samples'])
    info = dataset.metainfo
    colours = [tuple(np.array(colour) / 255) for colour in info['palette']]
    draw_segmentation(
        [mmcv.imread(sample.img_path, channel_order='rgb') for sample in samples],
        [sample.gt_sem_seg.data[0].numpy() for sample in samples],
        [sample.pred_sem_seg.data[0].numpy() for sample in samples],
        info['classes'],
        colours,
        path,
    )


@torch.no_grad()
def draw_run_detection(cfg: Config, model: torch.nn.Module, path: Path) -> None:
    """Draw the objects of some validation images, true and predicted.

    Of an image with n objects these are the n predictions with the highest scores: in a
    short run none comes to a usual threshold. The metrics of the table use all.
    """
    batch, dataset = validation_batch(cfg, COLUMNS)
    data = model.data_preprocessor(batch, False)
    samples = model.predict(data['inputs'], data['data_samples'])
    truths, predictions = [], []
    for sample in samples:
        truth, found = sample.gt_instances, sample.pred_instances
        found = found[found.scores.argsort(descending=True)[: len(truth)]]
        truths.append(
            Instances(
                truth.bboxes.numpy(),
                truth.masks.to_ndarray().astype(bool) if 'masks' in truth else [],
                truth.labels.numpy(),
            )
        )
        predictions.append(
            Instances(
                found.bboxes.numpy(),
                found.masks.numpy() if 'masks' in found else [],
                found.labels.numpy(),
                found.scores.numpy(),
            )
        )
    pictures = [mmcv.imread(s.img_path, channel_order='rgb') for s in samples]
    draw_detection(pictures, truths, predictions, dataset.metainfo['classes'], path)
