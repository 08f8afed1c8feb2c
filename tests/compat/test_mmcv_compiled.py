"""Our operators beside those of a compiled mmcv, where there is one."""

import time

import mmcv.ops
import mmcv_stand_in
import pytest
import torch
from golden_mmcv_ops import outcomes, tolerance
from mmcv_stand_in import needs_compiled, stand_in, use
from mmengine.config import Config
from mmengine.registry import init_default_scope
from repository import ROOT

pytestmark = [pytest.mark.slow, needs_compiled]
SEEDS = 30


def compiled():
    import mmcv._ext

    return mmcv._ext


def draw_cases():
    """Operator, inputs, other arguments; equal scores too, which one sort orders."""
    count = int(torch.randint(1, 300, ()))
    boxes, scores = mmcv_stand_in.boxes(count, size=80)
    if torch.rand(()) < 0.5:
        scores = (scores * 20).round() / 20
    if torch.rand(()) < 0.5:
        boxes = boxes.round()
    offset = int(torch.randint(2, ()))
    for threshold in (0.3, 0.5, 0.7):
        cfg = dict(iou_threshold=threshold, offset=offset)
        yield 'nms', [boxes, scores], cfg
        classes = torch.randint(0, 80, (count,))
        yield 'batched_nms', [boxes, scores, classes], cfg
        for method in ('naive', 'linear', 'gaussian'):
            soft = dict(cfg, method=method, min_score=0.05)
            yield 'soft_nms', [boxes, scores], soft
        table = torch.cat([boxes, scores[:, None]], 1)
        yield 'nms_match', [table], dict(iou_threshold=threshold)
    for mode in ('iou', 'iof'):
        yield 'bbox_overlaps', [boxes, boxes[:9]], dict(mode=mode, offset=offset)
    for ratio in (0, 1, 2):
        x, rois = torch.randn(2, 4, 9, 12), mmcv_stand_in.regions(count)
        yield (
            'roi_align',
            [x, rois],
            dict(
                output_size=[7, 7],
                spatial_scale=float(torch.rand(()) / 4 + 0.05),
                sampling_ratio=ratio,
                pool_mode='avg',
                aligned=bool(torch.randint(2, ())),
            ),
        )
    x, weight = torch.randn(2, 4, 7, 6), torch.randn(4, 4, 3, 3)
    offsets, mask = torch.randn(2, 18, 7, 6) * 2, torch.rand(2, 9, 7, 6)
    sizes = dict(stride=1, padding=1)
    yield 'deform_conv2d', [x, offsets, weight], sizes
    inputs = [x, offsets, mask, weight, torch.randn(4)]
    yield 'modulated_deform_conv2d', inputs, sizes
    for psa_type in (0, 1):
        others = dict(psa_type=psa_type, mask_size=[5, 3])
        yield 'psa_mask', [torch.randn(1, 15, 4, 5)], others


@pytest.mark.parametrize('seed', range(SEEDS))
def test_random_inputs(seed, monkeypatch):
    torch.manual_seed(seed)
    for name, inputs, others in draw_cases():
        results = []
        for module in (compiled(), stand_in()):
            use(module, monkeypatch)
            found, grads = outcomes(name, [t.clone() for t in inputs], others)
            results.append([*found, *grads])
        limit = tolerance(name, others)
        for right, mine in zip(*results, strict=True):
            # Degenerate boxes of whole numbers: 0 / 0 on both sides.
            torch.testing.assert_close(
                mine, right, rtol=limit, atol=limit, equal_nan=True
            )


def test_degenerate_boxes(monkeypatch):
    boxes = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [9, 9, 4, 4], [0, 0, 9, 9]])
    boxes = torch.cat([boxes, torch.full((2, 4), torch.nan), boxes[3:] + 1])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    table = torch.cat([boxes, scores[:, None]], 1)
    for offset in (0, 1):
        cases = [('nms', [boxes, scores], dict(iou_threshold=0.5, offset=offset))]
        cases += [('nms_match', [table], dict(iou_threshold=0.5))]
        for method in ('naive', 'linear', 'gaussian'):
            others = dict(iou_threshold=0.5, offset=offset, method=method)
            cases.append(('soft_nms', [boxes, scores], others))
        for name, inputs, others in cases:
            results = []
            for module in (compiled(), stand_in()):
                use(module, monkeypatch)
                results.append(outcomes(name, [t.clone() for t in inputs], others)[0])
            for right, mine in zip(*results, strict=True):
                torch.testing.assert_close(mine, right, equal_nan=True)


def training_step(module, monkeypatch):
    """One step of the smallest Cascade Mask R-CNN: losses, gradients, detections."""
    import numpy as np
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    use(module, monkeypatch)
    (path,) = (ROOT / 'configs/quickstart').glob('cascade-mask-rcnn*.py')
    cfg = Config.fromfile(path)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    samples = []
    for _ in range(2):
        boxes, _ = mmcv_stand_in.boxes(6, size=80)
        boxes[:, 2:] += 8
        masks = np.zeros((6, 128, 128), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(128, 128),
                ori_shape=(128, 128),
                pad_shape=(128, 128),
                batch_input_shape=(128, 128),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(0, 10, (6,)),
            masks=BitmapMasks(masks, 128, 128),
        )
        samples.append(sample)
    images = torch.randn(2, 3, 128, 128)
    losses, _ = model.parse_losses(model.loss(images, samples))
    losses.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.eval()
    with torch.no_grad():
        found = [s.pred_instances for s in model.predict(images, samples)]
    return losses.detach(), grads, found


def test_a_step_of_cascade_mask_rcnn(monkeypatch):
    """Equal to the bit: loss, gradients of all parameters, detections."""
    (right, right_grads, right_found), (loss, grads, found) = (
        training_step(module, monkeypatch) for module in (compiled(), stand_in())
    )
    assert torch.equal(loss, right) and loss.isfinite()
    assert grads.keys() == right_grads.keys() and len(grads) > 50
    assert all(torch.equal(grads[name], right_grads[name]) for name in grads)
    for mine, other in zip(found, right_found, strict=True):
        assert len(mine) > 0
        for key in ('bboxes', 'scores', 'labels', 'masks'):
            assert torch.equal(mine[key], other[key])


def seconds(run, times=5):
    """Time of the processor, the smallest of several."""
    run()
    taken = []
    for _ in range(times):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def test_times(monkeypatch):
    """Printed, not asserted (pytest -s)."""
    x = torch.randn(2, 256, 50, 50, requires_grad=True)
    rois = mmcv_stand_in.regions(256, size=700)
    boxes, scores = mmcv_stand_in.boxes(2000, size=800)
    cfg = dict(type='nms', iou_threshold=0.7)
    classes = torch.randint(0, 5, (2000,))
    few = boxes[:1000], scores[:1000]
    runs = {
        'RoIAlign, 256 regions, with gradient': lambda: (
            mmcv.ops.roi_align(x, rois, 7, 1 / 16, 0).sum().backward()
        ),
        'NMS of 2000 in 5 classes': lambda: mmcv.ops.batched_nms(
            boxes, scores, classes, cfg
        ),
        'NMS of 2000 with offset 1': lambda: mmcv.ops.nms(boxes, scores, 0.7, 1),
        'soft-NMS of 1000': lambda: mmcv.ops.soft_nms(*few),
    }
    for name, run in runs.items():
        times = []
        for module in (compiled(), stand_in()):
            use(module, monkeypatch)
            times.append(seconds(run))
        right, mine = times
        print(f'{name}: {mine * 1e3:.1f} ms, compiled {right * 1e3:.1f} ms')
