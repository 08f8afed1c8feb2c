"""Golden numbers of a compiled mmcv's operators on a CPU, and their writer.

In an environment whose mmcv is compiled, this writes the files anew::

    PYTHONPATH=.:tests/lib python tests/lib/golden_mmcv_ops.py tests/golden

Keys: ``case/NAME`` is JSON with the operator and its other arguments, ``NAME/in/N`` an
input, ``NAME/out/N`` an outcome, ``NAME/grad/N`` the gradient of a floating input when
the first outcome is weighted by `weights`.

RoIAlign and its gradient, NMS, NMS in classes, NMS-match, soft-NMS (naive and linear),
overlaps and PSA masks are equal to the bit; the rest has the tolerance of `EXACT`.
"""

import json
import sys
from itertools import product
from pathlib import Path

import mmcv.ops
import numpy as np
import torch
from mmcv.ops.psa_mask import PSAMaskFunction
from mmcv_stand_in import boxes, is_compiled, regions, stand_in, use

# Tolerance, absolute and relative, of single precision; 0: equal to the bit.
EXACT = dict(
    roi_align=0,
    nms=0,
    batched_nms=0,
    nms_match=0,
    soft_nms=1e-6,  # the gaussian's; see `tolerance`
    bbox_overlaps=0,
    psa_mask=0,
    deform_conv2d=1e-5,
    modulated_deform_conv2d=1e-5,
)
# Of these, gradients are held too.
LAYERS = ('roi_align', 'psa_mask', 'deform_conv2d', 'modulated_deform_conv2d')


def tolerance(name, others):
    exact = name == 'soft_nms' and others['method'] != 'gaussian'
    return 0 if exact else EXACT[name]


def weights(output):
    """What a gradient is taken of: the first outcome times this."""
    return torch.linspace(-1, 1, output.numel()).view(output.shape)


def outcomes(name, inputs, others):
    """Return what an operator of mmcv gives, and the gradients of its inputs."""
    layer = name in LAYERS
    if layer:  # the second input of RoIAlign are its regions
        wanted = inputs[:1] if name == 'roi_align' else inputs
        for tensor in wanted:
            tensor.requires_grad_()
    if name == 'batched_nms':
        found = mmcv.ops.batched_nms(*inputs, dict(others))
    elif layer:  # functions of autograd take no keywords
        function = PSAMaskFunction.apply if name == 'psa_mask' else None
        function = function or getattr(mmcv.ops, name)
        found = function(*inputs, *others.values())
    else:
        found = getattr(mmcv.ops, name)(*inputs, **others)
    if name == 'nms_match':  # groups of different lengths: one after another
        found = torch.cat(found), torch.tensor([len(group) for group in found])
    found = [found] if torch.is_tensor(found) else list(found)
    if not layer:
        return found, []
    grads = torch.autograd.grad((found[0] * weights(found[0])).sum(), wanted)
    return [t.detach() for t in found], list(grads)


def check_mmcv_ops(path, monkeypatch):
    """Assert that our operators give the numbers of the file."""
    use(stand_in(), monkeypatch)
    arrays = np.load(path, allow_pickle=False)
    cases = [key.removeprefix('case/') for key in arrays.files if key[:5] == 'case/']
    assert cases
    for case in cases:
        name, others = json.loads(str(arrays[f'case/{case}']))

        def stored(kind, case=case):
            keys = [k for k in arrays.files if k.startswith(f'{case}/{kind}/')]
            return [torch.from_numpy(arrays[k]) for k in keys]

        found, grads = outcomes(name, stored('in'), others)
        limit = tolerance(name, others)
        right = stored('out') + stored('grad')
        for mine, golden in zip(found + grads, right, strict=True):
            torch.testing.assert_close(mine, golden, rtol=limit, atol=limit)


def cases():
    """Yield the name of the case, operator, inputs, other arguments."""
    for aligned, ratio in product((True, False), (0, 2)):
        inputs = [torch.randn(2, 4, 10, 12), regions(12)]
        others = dict(
            output_size=[3, 4],
            spatial_scale=0.2,
            sampling_ratio=ratio,
            pool_mode='avg',
            aligned=aligned,
        )
        yield f'roi {aligned} {ratio}', 'roi_align', inputs, others
    for offset in (0, 1):
        # Whole numbers have overlaps of exactly the threshold. Equal scores come in an
        # order that depends on the processor, so there are none.
        whole = [boxes(50)[0].round(), boxes(50)[1]]
        for kind, inputs in (('whole', whole), ('real', list(boxes(60)))):
            others = dict(iou_threshold=0.5, offset=offset)
            yield f'nms {kind} {offset}', 'nms', inputs, others
        for method in ('naive', 'linear', 'gaussian'):
            others = dict(iou_threshold=0.3, min_score=0.05, method=method)
            others['offset'] = offset
            yield f'soft {method} {offset}', 'soft_nms', list(boxes(40)), others
        for mode in ('iou', 'iof'):
            inputs = [boxes(9)[0], boxes(8)[0]]
            others = dict(mode=mode, offset=offset)
            yield f'overlaps {mode} {offset}', 'bbox_overlaps', inputs, others
    table = torch.cat([boxes(50)[0].round(), boxes(50)[1][:, None]], 1)
    yield 'match', 'nms_match', [table], dict(iou_threshold=0.3)
    for split_thr in (10000, 20):
        inputs = [*boxes(60), torch.randint(0, 4, (60,))]
        others = dict(type='nms', iou_threshold=0.5, split_thr=split_thr)
        yield f'batched {split_thr}', 'batched_nms', inputs, others
    for groups, size in ((1, (6, 5)), (2, (3, 3))):
        others = dict(stride=groups, padding=1, dilation=1, groups=groups)
        others['deform_groups'] = groups
        x, offset = torch.randn(1, 4, 6, 5), torch.randn(1, 18 * groups, *size)
        mask = torch.rand(1, 9 * groups, *size)
        weight, bias = torch.randn(4, 4 // groups, 3, 3), torch.randn(4)
        yield f'v1 {groups}', 'deform_conv2d', [x, offset, weight], others
        inputs = [x, offset, mask, weight, bias]
        yield f'v2 {groups}', 'modulated_deform_conv2d', inputs, others
    for psa_type in (0, 1):
        others = dict(psa_type=psa_type, mask_size=[3, 5])
        yield f'psa {psa_type}', 'psa_mask', [torch.randn(1, 15, 4, 5)], others


def write(folder):
    assert is_compiled()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    files = {}
    for case, name, inputs, others in cases():
        found, grads = outcomes(name, [t.clone() for t in inputs], others)
        file = 'layers' if name in LAYERS else 'boxes'
        arrays = files.setdefault(file, {})
        arrays[f'case/{case}'] = json.dumps([name, others])
        for kind, tensors in (('in', inputs), ('out', found), ('grad', grads)):
            for number, tensor in enumerate(tensors):
                arrays[f'{case}/{kind}/{number}'] = tensor.numpy()
    for file, arrays in files.items():
        np.savez_compressed(Path(folder) / f'mmcv_ops_{file}.npz', **arrays)


if __name__ == '__main__':
    write(sys.argv[1])
