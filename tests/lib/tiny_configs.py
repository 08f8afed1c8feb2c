"""Any shipped config made tiny: narrow networks, small pictures, a single step."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from dense_pictures import write_coco
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES
from mmpretrain.models import PCPVT, SVT, BEiTViT, SwinTransformer, VisionTransformer
from repository import ROOT
from scipy.io import savemat
from tiny_segmentation import write_data

from mmtlalign.registry import MODELS
from mmtlalign.validation.config import load_config

CONFIGS = {
    str(path.relative_to(ROOT / 'configs')): path
    for path in sorted((ROOT / 'configs').rglob('*.py'))
    # Of evaluation: no training, see tests/configs/test_evaluation.py.
    if not {'_base_', 'plans', 'evaluation'} & set(path.parts)
}
WIDTH, LAYERS = 16, 4
SIZES = ('scale', 'crop_size', 'size', 'stride', 'scales', 'img_scale')
CIFAR10_PICTURES = dict(train=2, test=1)
DIGITS = 'zero one two three four five six seven eight nine'.split()


# -------------------------------------------------------------------------- networks


def thin(model: dict) -> None:
    """Make a network narrow and shallow, in place; what reads it goes along."""
    backbone = model['backbone']
    kind = backbone['type'].rpartition('.')[2]
    old = None
    if kind in ('VisionTransformer', 'WindowedViT', 'BEiTViT', 'DHVT', 'LVViT'):
        old = width_of(backbone)
        backbone['arch'] = dict(
            embed_dims=WIDTH,
            num_layers=LAYERS,
            num_heads=2,
            feedforward_channels=2 * WIDTH,
        )
        if kind == 'LVViT':
            backbone['arch'].update(skip_lam=2, stem_channels=8)
        if len(backbone.get('out_indices') or ()) == LAYERS:
            backbone['out_indices'] = tuple(range(LAYERS))
        if 'global_layers' in backbone:
            backbone['global_layers'] = [LAYERS - 1]
        head = model.get('head') or {}
        if 'layer' in head:  # ablations
            head['layer'] = min(head['layer'], LAYERS - 1)
        if 'layers' in head:
            head['layers'] = sorted({min(i, LAYERS - 1) for i in head['layers']})
    elif kind in ('SwinTransformer', 'CASwin'):
        old, stages = width_of(backbone), stages_of(backbone)
        backbone['arch'] = dict(
            embed_dims=WIDTH, depths=[1, 1, 2, 2][-stages:], num_heads=[1, 2, 2, 4]
        )
        backbone['arch']['num_heads'] = [1, 2, 2, 4][:stages]
    elif kind == 'ResNet':
        old, backbone['base_channels'] = 64, WIDTH
    elif kind == 'PVT':
        backbone['arch'] = dict(
            embed_dims=(64, 128, 320, 512),
            num_layers=(1, 1, 1, 1),
            num_heads=(1, 2, 5, 8),
            mlp_ratios=(1, 1, 1, 1),
            sr_ratios=(8, 4, 2, 1),
            patch_sizes=(4, 2, 2, 2),
        )
    elif kind in ('PCPVT', 'SVT'):
        zoo = dict(PCPVT=PCPVT, SVT=SVT)[kind].arch_zoo[backbone['arch']]
        backbone['arch'] = dict(zoo, depths=[1, 1, 1, 1])
    elif kind == 'XCiT':
        backbone.update(depth=1, cls_attn_layers=1)
    elif kind == 'TIMMBackbone':
        backbone.update(pretrained=False, depth=1, img_size=56, patch_size=4)
    init = backbone.get('init_cfg')
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        backbone['init_cfg'] = None
    if old:
        for part in ('neck', 'head', 'region_head', 'decode_head', 'auxiliary_head'):
            narrow(model.get(part), old)
    small_heads(model)


def width_of(backbone: dict) -> int:
    """Width of the first stage, or of all layers."""
    arch = backbone['arch']
    if not isinstance(arch, str):
        return arch['embed_dims']
    kind = backbone['type'].rpartition('.')[2]
    hosts = dict(
        BEiTViT=BEiTViT, CASwin=SwinTransformer, SwinTransformer=SwinTransformer
    )
    own = MODELS.get(kind) if kind in ('DHVT', 'LVViT') else None
    return (own or hosts.get(kind, VisionTransformer)).arch_zoo[arch]['embed_dims']


def stages_of(backbone: dict) -> int:
    """Count the stages of a Swin."""
    arch = backbone['arch']
    return 4 if isinstance(arch, str) else len(arch['depths'])


def narrow(node: object, old: int) -> None:
    """Scale the widths that a head or neck reads from a backbone of width ``old``."""
    if isinstance(node, (list, tuple)):
        for child in node:
            narrow(child, old)
    if not isinstance(node, dict):
        return
    keys = ['in_channels', 'embed_dims', 'embed_dim']
    if node.get('type') == 'MultiLevelNeck':
        keys.append('out_channels')
    if node.get('num_convs') == 0 or 'Segmenter' in str(node.get('type')):
        keys.append('channels')

    def scaled(value):
        if isinstance(value, (list, tuple)):
            return [scaled(one) for one in value]
        return value if value == 2048 and old != 64 else value * WIDTH // old

    for key in keys:
        if key in node:
            node[key] = scaled(node[key])
    if 'Segmenter' in str(node.get('type')):
        node['num_heads'] = 2


def small_heads(model: dict) -> None:
    """Make heads of dense tasks and of EsViT small, in place."""
    for part in ('decode_head', 'auxiliary_head'):
        head = model.get(part) or {}
        if head.get('num_convs') != 0 and 'Segmenter' not in str(head.get('type')):
            head.update(channels=16) if head else None
    for part in ('head', 'region_head'):
        if (model.get(part) or {}).get('type') == 'mmtlalign.EsViTHead':
            model[part].update(
                out_channels=32, hidden_channels=16, bottleneck_channels=8
            )
    roi = model.get('roi_head')
    if not roi:
        return
    width = 16

    def visit(node):
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, (dict, list, tuple)):
                visit(child)
        if isinstance(node, dict):
            for key in ('conv_out_channels', 'out_channels', 'feat_channels'):
                if node.get(key) == own:
                    node[key] = width
            if node.get('in_channels') == own:
                node['in_channels'] = width
            if node.get('type') == 'FPN':
                node['out_channels'] = width
            for key, most in dict(
                fc_out_channels=16, num=16, nms_pre=50, max_per_img=20
            ).items():
                if isinstance(node.get(key), int):
                    node[key] = min(node[key], most)

    own = model['rpn_head']['in_channels']
    for part in ('neck', 'rpn_head', 'roi_head', 'train_cfg', 'test_cfg'):
        visit(model[part])
    model['test_cfg']['rcnn']['score_thr'] = 0.0


# -------------------------------------------------------------------------- pictures


def small_pictures(cfg: Config, factor: int, step: int = 1) -> None:
    """Divide the sizes of pipelines and of what goes with them, in place.

    Args:
        cfg: The config.
        factor: What sizes are divided by.
        step: Sizes are multiples of it.
    """

    def smaller(value):
        if isinstance(value, (list, tuple)):
            return type(value)(smaller(one) for one in value)
        return max(step, round(value / factor / step) * step)

    def visit(node):
        for child in node.values() if isinstance(node, dict) else node:
            if isinstance(child, (dict, list, tuple)):
                visit(child)
        if isinstance(node, dict) and 'PoolLabelMap' not in str(node.get('type')):
            for key in SIZES:
                if isinstance(node.get(key), (int, list, tuple)):
                    node[key] = smaller(node[key])

    for key in list(cfg):
        if key.endswith(('_dataloader', 'pipeline')) and cfg[key]:
            visit(cfg[key])
    for hook in cfg.get('custom_hooks') or []:
        visit(hook)
    visit(cfg.model.get('data_preprocessor') or {})
    visit(cfg.model.get('test_cfg') or {})


def patches(cfg: Config, factor: int) -> None:
    """Divide patches with the pictures, so that the grid of tokens stays."""
    backbone = cfg.model.backbone
    kind = backbone.type.rpartition('.')[2]
    if kind in ('PVT', 'PCPVT', 'SVT', 'XCiT', 'ResNet', 'TIMMBackbone'):
        if 'img_size' in backbone:
            backbone.img_size //= factor
        if kind != 'TIMMBackbone':
            return
    patch = backbone.get('patch_size', 4 if 'Swin' in kind else 16)
    backbone.patch_size = patch // factor
    if 'img_size' in backbone and kind != 'TIMMBackbone':
        backbone.img_size //= factor
    for augment in (cfg.model.get('train_cfg') or {}).get('augments') or []:
        for key in ('patch_size', 'cell'):
            if augment.get(key):
                augment[key] //= factor
        if augment['type'] == 'mmtlalign.PuzzleMix':
            augment['blocks'] = (2, 4)  # which divide small pictures


# ---------------------------------------------------------------------- whole config


def tiny(name: str, data: Path) -> Config:
    """Read a shipped config and make it tiny, on the data of :func:`write_all`.

    Args:
        name: Its path below ``configs/``.
        data: Where the data were written.
    """
    options = dict(data_root=str(data / folder_of(name)))
    cfg = load_config(str(CONFIGS[name]), options)
    if 'label_map_root' in cfg and 'imagenette' not in name:
        maps = str(data / 'imagenet_maps')
        cfg = load_config(str(CONFIGS[name]), dict(options, label_map_root=maps))
    dense = cfg.default_scope in ('mmseg', 'mmdet')
    small = name.split('/')[0] in ('quickstart', 'small') or '32px' in name
    if dense and not small:
        # At half the test size CamVid's maps would be empty.
        small_pictures(cfg, 4 if 'camvid' in name else 8, 16)
    elif not small:
        factor = 4
        small_pictures(cfg, factor)
        patches(cfg, factor)
    thin(cfg.model)
    tiny_teacher(cfg.model, data)
    one_step(cfg)
    return cfg


def tiny_teacher(model: dict, data: Path) -> None:
    """Give the teacher of a head the size of the network, and random weights."""
    teacher = (model.get('head') or {}).get('teacher') or {}
    if 'backbone' not in teacher:
        return
    kept = ('type', 'arch', 'img_size', 'patch_size')
    backbone = {key: model.backbone[key] for key in kept}
    backbone['type'] = teacher['backbone']['type']
    teacher['backbone'] = backbone
    teacher['checkpoint'] = str(data / f'{backbone["type"]}.pth')
    init_default_scope('mmpretrain')
    network = MODELS.build(backbone)
    torch.save(dict(state_dict=network.state_dict()), teacher['checkpoint'])


def one_step(cfg: Config) -> None:
    """Let a run be one step, one save and one validation, in place."""
    train = cfg.train_cfg
    for key in ('max_epochs', 'max_iters', 'val_interval'):
        if key in train:
            train[key] = 1
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        scheduler.begin = 0
        scheduler.end = 1
        scheduler.pop('T_max', None)
    for loader in loaders(cfg):
        loader.update(num_workers=0, persistent_workers=False)
        loader.batch_size = min(loader.batch_size, 2)
        loader.dataset.indices = 2
        loader.drop_last = False
    for part in ('bank', 'queries', 'knn_bank', 'knn_queries'):
        cfg.pop(part, None)
    if cfg.get('pretrained'):
        cfg.pretrained = None
    if cfg.get('load_from'):  # phases of EsViT that continue another run
        cfg.load_from = None
        cfg.custom_hooks = [h for h in cfg.custom_hooks if 'Continue' not in h.type]
    for hook in cfg.get('custom_hooks') or []:
        if 'bank' in hook:
            hook.ks = (1,)
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.interval = 1
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper':
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale'):
            cfg.optim_wrapper.pop(key, None)
    cfg.log_level = 'WARNING'


def loaders(cfg: Config) -> list:
    """List every data loader of a config, those of hooks too."""
    found = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')
             if cfg.get(f'{split}_dataloader')]  # fmt: skip
    for hook in cfg.get('custom_hooks') or []:
        found += [hook[key] for key in ('bank', 'queries') if key in hook]
    return found


# ------------------------------------------------------------------------------ data

FOLDERS = {
    'ade20k': 'ade', 'pascal-context59': 'voc59', 'pascal-context': 'voc',
    'camvid': 'camvid', 'coco-persons': 'coco', 'digits-96x96': 'digits',
    'coco': 'coco', 'imagenette': 'imagenette', 'digits': 'imagenette/imagenette224',
    'cifar100': 'cifar', 'cifar10': 'cifar', 'domainnet': 'domainnet/clipart',
    'flowers102': 'flowers', 'stanford-cars': 'cars', 'in1k': 'imagenet',
}  # fmt: skip


def folder_of(name: str) -> str:
    """Return the folder of the data that a config asks for, by its name."""
    ending = name.rpartition('_')[2]
    if 'digits-96x96' in name:
        return 'digits_coco' if 'rcnn' in name else 'digits_ade'
    if 'imagenette' in name and 'map' not in (ROOT / 'configs' / name).read_text():
        maps = any(k in name for k in ('mixtoken', 'relabel', 'token-label'))
        return 'imagenette' if maps else 'imagenette/imagenette224'
    return next(folder for key, folder in FOLDERS.items() if key in ending)


def write_all(root: Path) -> Path:
    """Write a handful of pictures in the layout of every data set; return the root."""
    picture = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
    root.mkdir(exist_ok=True, parents=True)
    cv2.imwrite(str(root / 'one.jpg'), picture)

    def link(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(root / 'one.jpg')

    for split in ('train', 'val'):
        for number in range(1000):
            link(root / f'imagenet/{split}/n{number:08d}/{number}.JPEG')
        for number in range(345):
            link(root / f'domainnet/clipart/{split}/{number:03d}/{number}.jpg')
        for number in range(10):
            link(root / f'imagenette/imagenette224/{split}/n{number:02d}/a.JPEG')
    planes = torch.stack([torch.rand(5, 18, 18), torch.randint(1000, (5, 18, 18))])
    for number in range(8):
        names = [f'imagenet_maps/n{number:08d}/{number}.pt']
        names += [f'imagenette/imagenette224_labelmaps/train/n{number:02d}/a.pt']
        for name in names:
            (root / name).parent.mkdir(parents=True)
            torch.save(planes.half(), root / name)
    write_coco(root / 'coco')
    write_coco(root / 'digits_coco')
    for file in (root / 'digits_coco/annotations').glob('*.json'):
        content = json.loads(file.read_text())
        content['categories'] = [dict(id=n, name=d) for n, d in enumerate(DIGITS, 1)]
        file.write_text(json.dumps(content))
    dense = dict(ade='ade20k', digits_ade='ade20k', camvid='camvid')
    for folder, kind in dense.items():
        write_data(kind, root / folder, [0, 1, 5, 10])
    write_data('pascal_context', root / 'voc', [0, 1, 5, 10])
    write_data('pascal_context_59', root / 'voc59', [0, 1, 5, 10])
    write_lists(root, link)
    write_cifar(root / 'cifar')
    # Of CIFAR10Folders: two pictures of each class, and one to test.
    for name in CIFAR10_CATEGORIES:
        for split, count in CIFAR10_PICTURES.items():
            for number in range(count):
                link(root / f'cifar/{split}/{name}/{number:04d}.jpg')
    return root


def write_lists(root: Path, link: Callable[[Path], None]) -> None:
    """Write Flowers-102 and Stanford Cars."""
    for number in (1, 2, 3, 4, 5, 6):
        link(root / f'flowers/jpg/image_{number:05d}.jpg')
        link(root / f'cars/car_ims/{number}.jpg')
    labels = np.arange(6, dtype=np.uint8)[None] + 1
    savemat(root / 'flowers/imagelabels.mat', dict(labels=labels))
    ids = dict(trnid=[1, 2], valid=[3, 4], tstid=[5, 6])
    lists = {key: np.array([own], np.uint16) for key, own in ids.items()}
    savemat(root / 'flowers/setid.mat', lists)
    kinds = [('relative_im_path', 'O'), ('class', 'O'), ('test', 'O')]
    rows = [(f'car_ims/{n}.jpg', n, int(n > 3)) for n in range(1, 7)]
    table = np.array([rows], dtype=kinds)
    savemat(root / 'cars/cars_annos.mat', dict(annotations=table))


def write_cifar(root: Path) -> None:
    """Write both kinds of CIFAR, 4 pictures a batch, with md5 of their own."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 3072), np.uint8)
    batches = {f'cifar-10-batches-py/data_batch_{n}': 'labels' for n in range(1, 6)}
    batches |= {'cifar-10-batches-py/test_batch': 'labels'}
    batches |= {'cifar-100-python/train': 'fine_labels'}
    batches |= {'cifar-100-python/test': 'fine_labels'}
    for name, key in batches.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        content = {'data': pixels, key: [0, 1, 2, 3]}
        (root / name).write_bytes(pickle.dumps(content))
    names = dict(label_names=[f'c{n}' for n in range(10)])
    (root / 'cifar-10-batches-py/batches.meta').write_bytes(pickle.dumps(names))
    names = dict(fine_label_names=[f'c{n}' for n in range(100)])
    (root / 'cifar-100-python/meta').write_bytes(pickle.dumps(names))
