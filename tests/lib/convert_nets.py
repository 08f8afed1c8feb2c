"""Small classifiers of mmpretrain and timm, of the same sizes, to convert between."""

import torch
from mmengine.registry import MODELS, init_default_scope
from timm.models import swin_transformer, xcit
from torch import nn

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
SIZES = dict(
    img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=3
)
WINDOWS = dict(img_size=128, window_size=4)
DEPTHS, HEADS = [2, 1, 2, 1], [1, 2, 4, 8]


def classifier(backbone, head='VisionTransformerClsHead', width=32):
    init_default_scope('mmpretrain')
    head = dict(type=head, num_classes=3, in_channels=width)
    model = dict(type='ImageClassifier', backbone=backbone, head=head)
    if backbone['type'] == 'SwinTransformer':
        model['neck'] = dict(type='GlobalAveragePooling')
    return MODELS.build(model)


def vit(kind='VisionTransformer', head='VisionTransformerClsHead', **options):
    backbone = dict(type=kind, arch=ARCH, img_size=32, patch_size=8, **options)
    return classifier(backbone, head)


def swin(stages=4):
    arch = dict(embed_dims=16, depths=DEPTHS[:stages], num_heads=HEADS[:stages])
    last = dict(type='SwinTransformer', arch=arch, out_indices=(stages - 1,))
    return classifier(dict(last, **WINDOWS), 'LinearClsHead', 8 * 2**stages)


def timm_swin(stages=4):
    sizes = dict(depths=DEPTHS[:stages], num_heads=HEADS[:stages], num_classes=3)
    return swin_transformer.SwinTransformer(embed_dim=16, **sizes, **WINDOWS)


def ours_xcit(patch=16):
    sizes = dict(embed_dims=128, depth=2, num_heads=4, mlp_ratio=4, cls_attn_layers=2)
    backbone = dict(type='XCiT', patch_size=patch, layer_scale_init_value=1.0, **sizes)
    return classifier(backbone, 'LinearClsHead', 128)


def timm_xcit(patch=16):
    return xcit.Xcit(**dict(SIZES, patch_size=patch, embed_dim=128, num_heads=4))


def far_from_start(model, dtype=torch.float64):
    """Give every weight, norm and running statistic a value of its own."""
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float(name.endswith('norm.weight')), std=0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.to(dtype).eval()


@torch.no_grad()
def logits(model, images):
    if hasattr(model, 'extract_feat'):
        return model.head(model.extract_feat(images))
    return model(images)
