"""Every shipped config trains a step, saves, tests and infers through the tools."""

import copy

import numpy as np
import pytest
import torch
from every_config import mask, plain, quick, run
from tiny_configs import CONFIGS, tiny, write_all

PICTURE = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
DONE: set[str] = set()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp('data'))


_quick = pytest.fixture(autouse=True)(quick)


def done(settings):
    """Whether these settings were met before."""
    key = repr(settings)
    if key in DONE:
        return True
    DONE.add(key)
    return False


def infer(cfg, file):
    """Show one picture to each inferencer of the host."""
    if cfg.default_scope == 'mmseg':
        from mmseg.apis import MMSegInferencer

        inferencer = MMSegInferencer(cfg, str(file), device='cpu', show_progress=False)
        result = inferencer(PICTURE, return_vis=True)
        assert result['predictions'].shape == PICTURE.shape[:2]
        assert result['visualization'].shape == PICTURE.shape
    elif cfg.default_scope == 'mmdet':
        from mmdet.apis import DetInferencer

        inferencer = DetInferencer(cfg, str(file), device='cpu', show_progress=False)
        result = inferencer(PICTURE, return_vis=True)
        assert {'labels', 'scores', 'bboxes', 'masks'} <= result['predictions'][
            0
        ].keys()
        assert result['visualization'][0].shape == PICTURE.shape
    else:
        from mmpretrain import FeatureExtractor, ImageClassificationInferencer

        if 'test_dataloader' not in cfg:  # EsViT's: as in docs/inference.md
            hook = next(h for h in cfg.custom_hooks if 'queries' in h)
            cfg.test_dataloader = hook.queries
        else:
            inferencer = ImageClassificationInferencer(cfg, str(file), device='cpu')
            (result,) = inferencer(PICTURE, show_dir=str(file.parent))
            assert result['pred_scores'].shape == (cfg.model.head.num_classes,)
            if inferencer.classes:
                assert result['pred_class'] in inferencer.classes
        (features,) = FeatureExtractor(cfg, str(file), device='cpu')(PICTURE)
        assert all(torch.isfinite(one).all() for one in flat(features))


def flat(features):
    if isinstance(features, torch.Tensor):
        return [features]
    return [tensor for one in features for tensor in flat(one)]


@pytest.mark.slow  # 278 configs, a second each
@pytest.mark.parametrize('name', CONFIGS)
def test_trains_a_step_saves_tests_and_infers(name, data, tmp_path, monkeypatch):
    cfg = tiny(name, data)
    settings = mask(dict(plain(cfg)))
    if done(settings):  # they differ in rates, or in sizes that are the same when tiny
        return
    config, work = CONFIGS[name], tmp_path / 'work'
    cfg.work_dir, cfg.experiment_name = str(work), tmp_path.name
    run(monkeypatch, 'train', cfg, config, '--work-dir', work)
    (file,) = [*work.glob('epoch_1.pth'), *work.glob('iter_1.pth')]
    if 'test_dataloader' in cfg:
        run(monkeypatch, 'test', cfg, config, file, '--work-dir', work)
    if 'tta_pipeline' in cfg:
        run(monkeypatch, 'test', cfg, config, file, '--work-dir', work, '--tta')
    # What an inferencer reads.
    test = settings.get('test_dataloader') or settings.get('custom_hooks')
    if not done([settings['model'], test]):
        infer(copy.deepcopy(cfg), file)
    file.unlink()
