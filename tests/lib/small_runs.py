"""Make downstream configs small enough for a CPU, train them, and read their logs."""

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner
from repository import ROOT

from tools.configs.metafiles import meta_device, without_memory  # noqa: F401

SMALL_SWIN = dict(embed_dims=32, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
SMALL_WIDTHS = [32, 64, 128, 256]


def load(name: str) -> Config:
    """Read a config of this repository by the beginning of its name."""
    (path,) = (ROOT / 'configs').glob(f'*/{name}*.py')
    return Config.fromfile(path)


def small_upernet(cfg: Config, classes: int) -> None:
    """Set a narrow Swin and heads to match, in place."""
    model = cfg.model
    model.backbone.update(arch=SMALL_SWIN, drop_path_rate=0.0)
    model.decode_head.update(in_channels=SMALL_WIDTHS, channels=64, num_classes=classes)
    model.auxiliary_head.update(in_channels=128, channels=32, num_classes=classes)


def small_cascade(cfg: Config, classes: int) -> None:
    """Set a narrow Swin, FPN and heads, and few boxes an image, in place."""
    model, width = cfg.model, 64
    model.backbone.update(arch=SMALL_SWIN, drop_path_rate=0.0)
    model.neck.update(in_channels=SMALL_WIDTHS, out_channels=width)
    model.rpn_head.update(in_channels=width, feat_channels=width)
    roi = model.roi_head
    roi.bbox_roi_extractor.out_channels = width
    roi.mask_roi_extractor.out_channels = width
    for head in roi.bbox_head:
        head.update(in_channels=width, conv_out_channels=width, fc_out_channels=128)
        head.num_classes = classes
    roi.mask_head.update(in_channels=width, conv_out_channels=width)
    roi.mask_head.num_classes = classes
    few_boxes(cfg)


def few_boxes(cfg: Config) -> None:
    """Set fewer proposals, and fewer of them to learn from, in place."""
    train = cfg.model.train_cfg
    train.rpn_proposal.update(nms_pre=200, max_per_img=100)
    for stage in train.rcnn:
        stage.sampler.num = 16
    test = cfg.model.test_cfg
    test.rpn.update(nms_pre=100, max_per_img=16)
    test.rcnn.max_per_img = 16


def small_pictures(cfg: Config, short: int, crop: int = 0) -> None:
    """Resize to a short side of about ``short`` and crop, in place."""
    sizes = dict(
        RandomChoiceResize=dict(scales=[(short, 4 * short), (short + 32, 4 * short)]),
        RandomResize=dict(scale=(4 * short, short)),
        Resize=dict(scale=(4 * short, short)),
        RandomCrop=dict(crop_size=(crop or short, crop or short)),
    )

    def visit(node: dict | list | tuple) -> None:
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, (dict, list, tuple)):
                visit(child)
        if isinstance(node, dict):
            node.update(sizes.get(node.get('type'), {}))

    for split in ('train', 'val', 'test'):
        visit(cfg[f'{split}_dataloader'].dataset.pipeline)
    if crop:
        cfg.model.data_preprocessor.size = (crop, crop)


def train(
    cfg: Config, work_dir: Path, iterations: int, lr: float, evaluate: bool = True
) -> Runner:
    """Train on the CPU in one process, then evaluate once; saves no checkpoint."""
    if not evaluate:
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = '-'.join(Path(work_dir).parts[-2:])
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations
    )
    cfg.param_scheduler = []
    cfg.optim_wrapper.update(type='OptimWrapper')
    cfg.optim_wrapper.optimizer.lr = lr
    for split in ('train', 'val', 'test'):
        if cfg.get(f'{split}_dataloader'):
            cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    # With the state of its optimizer, a full-size model is a file of a gigabyte.
    cfg.default_hooks.checkpoint = None
    # The loss of every single iteration.
    cfg.log_processor = dict(type='LogProcessor', window_size=1, by_epoch=False)
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def losses(work_dir: Path) -> list[float]:
    """Read the loss of every iteration."""
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    lines = map(json.loads, file.read_text().splitlines())
    return [line['loss'] for line in lines if 'loss' in line]


def scores(work_dir: Path) -> dict[str, float]:
    """Read the figures of the evaluation."""
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return json.loads(file.read_text().splitlines()[-1])
