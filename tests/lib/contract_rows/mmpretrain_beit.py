"""mmpretrain's BEiT and EVA-02."""

from mmpretrain.models.backbones.vit_eva02 import AttentionWithRoPE
from mmpretrain.models.utils import BEiTAttention

from .row import Row

BEIT = dict(
    type='BEiTViT',
    arch=dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=48),
    img_size=32,
    patch_size=8,
)
SHARED = dict(
    BEIT,
    img_size=(24, 40),
    out_type='cls_token',
    use_rel_pos_bias=False,
    use_shared_rel_pos_bias=True,
)
NO_BIAS = dict(BEIT, use_rel_pos_bias=False, use_abs_pos_emb=True, with_cls_token=False)
EVA02 = dict(type='ViTEVA02', arch=BEIT['arch'], img_size=32, patch_size=8, sub_ln=True)

ROWS = {
    'BEiT': Row(BEIT, (32, 32), 8, 'mean'),
    'BEiT, shared bias': Row(SHARED, (24, 40), 8, 'class'),
    'BEiT, any size': Row(NO_BIAS, (36, 52), 8, 'mean'),
    'BEiT, attention dropout': Row(
        dict(BEIT, layer_cfgs=dict(attn_cfg=dict(attn_drop_rate=0.3))),
        (32, 32),
        8,
        'mean',
        same_graph=True,
    ),
    'EVA-02': Row(EVA02, (32, 32), 8, 'class'),
    'EVA-02, any size': Row(dict(EVA02, out_type='avg_featmap'), (36, 52), 8, 'mean'),
}


def hook_biased(module, events):
    """The bias is looked up for every pair of tokens, class token first."""

    def before(_, args, kwargs):
        x, shared = args[0], kwargs['rel_pos_bias']
        batch, tokens, width = x.shape
        qkv = (x @ module.qkv.weight.T).double()
        qkv[..., :width] += module.q_bias.double()
        split = qkv.reshape(batch, tokens, 3, module.num_heads, -1)
        query, key = split[:, :, 0].transpose(1, 2), split[:, :, 1].transpose(1, 2)
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if module.use_rel_pos_bias:
            logits += own_bias(tokens)
        if shared is not None:
            logits += shared.double()
        events.append(('attention', logits.softmax(-1).mean(1)))

    def own_bias(tokens):
        table = module.relative_position_bias_table.double().T
        index = module.relative_position_index
        return table[:, index.flatten()].reshape(-1, tokens, tokens)

    return [module.register_forward_pre_hook(before, with_kwargs=True)]


def hook_turned(module, events):
    """Queries and keys are turned by the stock module, patches alone."""

    def before(_, args):
        x, resolution = args
        split = module.qkv(x).reshape(*x.shape[:2], 3, module.num_heads, -1)
        query, key = (turn(split[:, :, i].transpose(1, 2), resolution) for i in (0, 1))
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        events.append(('attention', logits.softmax(-1).mean(1)))

    def turn(tokens, resolution):
        turned = tokens.double().clone()
        turned[:, :, 1:] = module.rope(tokens[:, :, 1:], resolution).double()
        return turned

    return [module.register_forward_pre_hook(before)]


HOOKS = {BEiTAttention: hook_biased, AttentionWithRoPE: hook_turned}
