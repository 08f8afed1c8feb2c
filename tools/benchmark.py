"""What mixing and tracing cost: a training step beside that of the stock model.

    python tools/benchmark.py                     # all models below, one thread
    python tools/benchmark.py deit-small swin-tiny --batch 8 --repeats 9 --json out.json

Four networks with one backbone take turns: the stock classifier, CutMix with the
stock head, TransMix, and TL-Align. A step is the loss and its gradients. Ratios are
to the stock step of the same round, so that what slows the machine for a while
slows both; the table has their median and, in brackets, the middle half.

On a CPU the time is that of the process's own work (all threads), which other
processes hardly change; the wall clock is in the file that --json writes.
"""

import argparse
import contextlib
import copy
import json
import logging
import platform
import statistics
import warnings

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

import mmtlalign.backbones  # noqa: F401  (registers our own)
from mmtlalign.engine import timing
from mmtlalign.tracing import family_of

CLASSES = 1000
PATCH = dict(type='VisionTransformer', img_size=224, patch_size=16)
TIMM = dict(type='mmtlalign.TIMMBackbone')

BACKBONES = {
    'deit-tiny': dict(PATCH, arch='deit-tiny'),
    'deit-small': dict(PATCH, arch='deit-small'),
    'deit3-small': dict(PATCH, type='mmpretrain.DeiT3', arch='small'),
    'beit-small': dict(type='mmpretrain.BEiTViT', arch='deit-s', img_size=224),
    'swin-tiny': dict(type='SwinTransformer', arch='tiny', img_size=224),
    'swinv2-tiny': dict(
        type='SwinTransformerV2', arch='tiny', img_size=256, window_size=8
    ),
    'pcpvt-small': dict(type='PCPVT', arch='small'),
    'svt-small': dict(type='SVT', arch='small'),
    'xcit-tiny-12': dict(
        type='XCiT', embed_dims=192, depth=12, num_heads=4, patch_size=16
    ),
    't2t-vit-14': dict(type='T2T_ViT'),
    'pvt-small of mmdet': dict(
        type='mmdet.PyramidVisionTransformer',
        num_layers=[3, 4, 6, 3],
        out_indices=(3,),
    ),
    'pvtv2-b1 of mmdet': dict(
        type='mmdet.PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=[2, 2, 2, 2],
        out_indices=(3,),
    ),
    'pvt-small': dict(type='mmtlalign.PVT', arch='small'),
    'caswin-tiny': dict(type='mmtlalign.CASwin', arch='tiny'),
    'dhvt-tiny': dict(type='mmtlalign.DHVT', arch='tiny-imagenet', patch_size=16),
    'dhvt-small': dict(type='mmtlalign.DHVT', arch='small-imagenet', patch_size=16),
    'timm deit-small': dict(TIMM, model_name='deit_small_patch16_224'),
    'timm swin-tiny': dict(TIMM, model_name='swin_tiny_patch4_window7_224'),
    'timm pvtv2-b1': dict(TIMM, model_name='pvt_v2_b1'),
}
VARIANTS = ('stock', 'CutMix', 'TransMix', 'TL-Align')


def build(name, size):
    """The four classifiers of a backbone, in the order of VARIANTS."""
    backbone = copy.deepcopy(BACKBONES[name])
    size = backbone.get('img_size', size)
    probe = MODELS.build(copy.deepcopy(backbone))
    probe.eval()
    with torch.no_grad():
        last = probe(torch.zeros(1, 3, size, size))[-1]
    output = family_of(probe).output(probe)
    channels = last.shape[1]
    kind = 'LinearClsHead'
    looks = dict(looks='columns') if output == 'mean' else {}
    models = []
    for head in (kind, kind, f'mmtlalign.TransMix{kind}', f'mmtlalign.TLAlign{kind}'):
        more = looks if 'TransMix' in head else {}
        config = dict(
            type='mmtlalign.MixClassifier' if models else 'ImageClassifier',
            backbone=copy.deepcopy(backbone),
            head=dict(type=head, num_classes=CLASSES, in_channels=channels, **more),
        )
        if last.ndim == 4:
            config['neck'] = dict(type='mmtlalign.GlobalAveragePooling')
        if models:
            config['train_cfg'] = dict(augments=[dict(type='mmtlalign.CutMix')])
        torch.manual_seed(0)
        model = MODELS.build(config)
        model.train()
        models.append(model)
    return dict(zip(VARIANTS, models)), size


def steps_of(model, batch, size, device, amp):
    """A function that makes one training step of a model."""
    images = torch.randn(batch, 3, size, size, device=device)
    scores = torch.eye(CLASSES, device=device)[torch.arange(batch)]
    precision = torch.autocast(device, dtype=torch.bfloat16, enabled=amp)

    def step():
        samples = [DataSample().set_gt_score(score) for score in scores]
        with precision:
            loss = model.loss(images, samples)['loss']
        loss.backward()
        model.zero_grad(set_to_none=False)

    return step


def compare(name, options):
    """Times of all variants of a backbone, one list of rounds each."""
    models, size = build(name, options.size)
    steps = {
        variant: steps_of(
            model.to(options.device), options.batch, size, options.device, options.amp
        )
        for variant, model in models.items()
    }
    return timing.take_turns(
        steps, options.repeats, options.device, before=np.random.seed
    )


def ratios(times):
    """Median and quartiles of each variant's time over the stock one's."""
    return {v: timing.ratios(times[v], times['stock']) for v in VARIANTS[1:]}


def line(name, times):
    """A row of the table."""
    cells = [f'{name:22}', f'{1000 * statistics.median(times["stock"]):8.0f}']
    cells += [
        f'{r["median"]:.3f} ({r["low"]:.2f}-{r["high"]:.2f})'
        for r in ratios(times).values()
    ]
    return '| ' + ' | '.join(cells) + ' |'


def main(arguments=None):
    """Print the table of the models that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('models', nargs='*', help='names of the table; default: all')
    parser.add_argument('--batch', type=int, default=8, help='images (default: 8)')
    parser.add_argument('--size', type=int, default=224, help='pixels (default: 224)')
    parser.add_argument('--repeats', type=int, default=9, help='rounds (default: 9)')
    parser.add_argument('--threads', type=int, default=1, help='default: 1')
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--amp', action='store_true', help='autocast to bfloat16')
    parser.add_argument('--json', metavar='FILE', help='all times, in seconds')
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.models) - set(BACKBONES))
    if unknown:
        parser.error(f'unknown {unknown}; known: {", ".join(BACKBONES)}')
    if options.repeats < 1 or options.batch < 1:
        parser.error('--repeats and --batch take 1 or more')

    torch.set_num_threads(options.threads)
    warnings.simplefilter('ignore')
    MMLogger.get_instance('benchmark').setLevel(logging.ERROR)
    init_default_scope('mmpretrain')
    print(
        f'{platform.machine()}, {options.threads} thread(s), {options.device}, '
        f'torch {torch.__version__}, batch {options.batch}, '
        f'{options.repeats} rounds, {"bf16" if options.amp else "fp32"}'
    )
    heads = ('model', 'stock, ms', *VARIANTS[1:])
    print('| ' + ' | '.join(heads) + ' |\n|' + '---|' * len(heads), flush=True)
    found = {}
    for name in options.models or BACKBONES:
        work, wall = compare(name, options)
        print(line(name, work), flush=True)
        found[name] = dict(seconds=work, wall=wall, ratios=ratios(work))
    if options.json:
        with contextlib.closing(open(options.json, 'w', encoding='utf-8')) as file:
            json.dump(dict(vars(options), models=found), file, indent=1)


if __name__ == '__main__':
    main()
