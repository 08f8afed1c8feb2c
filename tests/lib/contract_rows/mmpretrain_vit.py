"""mmpretrain's plain transformers."""

from mmpretrain.models.utils.attention import MultiheadAttention

from .row import Row

VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=48),
    img_size=32,
    patch_size=8,
)
MEAN = dict(VIT, out_type='avg_featmap')

ROWS = {
    'ViT': Row(VIT, (32, 32), 8, 'class'),
    'ViT, any size': Row(VIT, (36, 52), 8, 'class'),
    'ViT, cut patches': Row(
        dict(VIT, patch_cfg=dict(padding=0)),
        (36, 52),
        8,
        'class',
        cut=True,
        same_graph=True,
    ),
    'ViT, mean of tokens': Row(MEAN, (32, 32), 8, 'mean'),
    'ViT, no class token': Row(dict(MEAN, with_cls_token=False), (32, 48), 8, 'mean'),
    'ViT, attention dropout': Row(
        dict(VIT, layer_cfgs=dict(attn_drop_rate=0.3)),
        (32, 32),
        8,
        'class',
        same_graph=True,
    ),
    'DeiT III': Row(
        dict(VIT, type='DeiT3', arch=dict(VIT['arch'], num_layers=4)),
        (36, 52),
        8,
        'class',
    ),
    'MoCo v3': Row(dict(VIT, type='MoCoV3ViT'), (32, 32), 8, 'class', same_graph=True),
    'DeiT, distilled': Row(
        dict(VIT, type='DistilledVisionTransformer'), (32, 32), 8, 'class'
    ),
}


def hook_plain(module, events):
    def hook(linear, args, qkv):
        batch, tokens, _ = qkv.shape
        split = qkv.double().reshape(batch, tokens, 3, module.num_heads, -1)
        query, key = split[:, :, 0].transpose(1, 2), split[:, :, 1].transpose(1, 2)
        logits = query @ key.transpose(-1, -2) / divisor(query.shape[-1])
        events.append(('attention', logits.softmax(-1).mean(1)))

    def divisor(width):
        # Where mmpretrain is given a scale, it divides by it (T2T-ViT).
        seam = module.scaled_dot_product_attention
        return getattr(seam, 'keywords', dict(scale=width**0.5))['scale']

    return [module.qkv.register_forward_hook(hook)]


HOOKS = {MultiheadAttention: hook_plain}
