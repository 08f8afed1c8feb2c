"""Swin whose last block is class attention, which gives TransMix a class token.

Shapes: ``B`` batch, ``D`` width, ``H`` heads, ``d = D / H``, ``h, w`` token grid,
``N = h * w``.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mmtlalign.backbones.checks import check_out_type, check_variant
from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS
from mmtlalign.tracing.adapters.mmcv_patches import patch_grid, patch_stride
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
)


class ClassAttention(nn.Module):
    """Attention of the class token over all tokens, itself included.

    Args:
        embed_dims: Width D.
        num_heads: H. A divisor of D.
        qkv_bias: Bias of queries, keys and values.
        attn_drop: Dropout of the attention weights.
        scale: Factor of the logits.

    Attributes:
        scaled_dot_product_attention: The function that computes attention; tracing
            replaces it. Called with one query (B, H, 1, d), keys and values
            (B, H, 1 + N, d), ``dropout_p`` and ``scale``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool,
        attn_drop: float,
        scale: float,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.scale = scale
        self.q = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.scaled_dot_product_attention = F.scaled_dot_product_attention

    def forward(self, x: Tensor) -> Tensor:
        """Return the update (B, 1, D) of the first of normed tokens (B, 1 + N, D)."""
        query = self.q(x[:, :1]).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        pairs = self.kv(x).unflatten(-1, (2, self.num_heads, -1))
        key, value = pairs.permute(2, 0, 3, 1, 4).unbind(0)
        out = self.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.attn_drop if self.training else 0.0,
            scale=self.scale,
        )
        return self.proj(out.transpose(1, 2).flatten(2))


class ClassBlock(nn.Module):
    """A pre-norm block, like Swin's, that updates the class token alone.

    Args:
        block: The Swin block that it replaces. Norms, feed-forward and dropouts
            are reused, so that every option of the backbone holds here too;
            there is no table of relative positions, because a class token has
            no position.
    """

    def __init__(self, block: SwinBlock):
        super().__init__()
        inner = block.attn.w_msa
        self.norm1 = block.norm1
        self.attn = ClassAttention(
            inner.embed_dims,
            inner.num_heads,
            inner.qkv.bias is not None,
            inner.attn_drop.p,
            inner.scale,
        )
        self.drop = nn.Sequential(inner.proj_drop, block.attn.drop)
        self.norm2 = block.norm2
        self.ffn = block.ffn

    def forward(self, x: Tensor) -> Tensor:
        """Return the updated class token (B, 1, D) from tokens (B, 1 + N, D)."""
        token = x[:, :1] + self.drop(self.attn(self.norm1(x)))
        return self.ffn(self.norm2(token), identity=token)


@MODELS.register_module()
class CASwin(SwinTransformer):
    """Swin Transformer with class attention (TransMix, CVPR 2022).

    The last block of the last stage becomes a class-attention block of the same
    width: a class token attends to all tokens of the last map, and is the output.
    The paper gives only sizes and results. This block is a reconstruction that
    matches them: 28.3 million parameters and 4.20 instead of 4.49 billion
    multiplications, 6.4 % less (the paper says 7 %). Parameters with a linear head
    of 1000 classes:

    ======= ========== =============
    arch    CASwin     stock Swin
    ======= ========== =============
    'tiny'  28,285,066 28,288,354
    'small' 49,602,970 49,606,258
    'base'  87,763,840 87,768,224
    ======= ========== =============

    The norm of the last stage is applied to the output: the class token, or the
    patches of the last map.

    Args:
        *args: Arguments of mmpretrain's ``SwinTransformer``.
        out_type (str): ``'cls_token'`` (B, D), or ``'featmap'``, maps (B, D, h, w)
            of the stages. No map depends on the class-attention block; the block
            stays in the state dict, so that a classifier's checkpoint can be loaded,
            but is neither run nor trained. Defaults to ``'cls_token'``.
        from_swin (bool): Whether a state dict of a stock Swin may be loaded: its
            last block is left out with a line in the log, and the class token and
            its block keep their initial values. Defaults to False, which makes
            loading one an error.
        **kwargs: Arguments of mmpretrain's ``SwinTransformer``. ``with_cp`` does not
            affect the class block, which has one query.

    Raises:
        InputError: An argument is impossible, or a state dict is that of a stock
            Swin without ``from_swin``.
    """

    OUT_TYPES = ('cls_token', 'featmap')
    # Parameters that a stock Swin lacks, for `new_layers` of PretrainedBackboneHook.
    NEW_LAYERS = ('cls_token', 'class_block')

    def __init__(
        self,
        *args: Any,
        out_type: str = 'cls_token',
        from_swin: bool = False,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.out_type = out_type
        self.from_swin = from_swin
        self._check_outputs()
        last = self.stages[-1]
        self.class_block = ClassBlock(last.blocks[-1])
        del last.blocks[-1]
        self.cls_token = nn.Parameter(torch.empty(1, 1, last.embed_dims))
        trunc_normal_(self.cls_token, std=0.02)
        self._register_load_state_dict_pre_hook(self._check_state_dict)
        self._freeze_class_token()

    def _check_outputs(self) -> None:
        last = self.num_layers - 1
        check_out_type(self.out_type, self.OUT_TYPES)
        if self.out_type == 'cls_token' and tuple(self.out_indices) != (last,):
            raise InputError(
                f'out_indices={tuple(self.out_indices)}: only the last stage has a '
                f"class token; set out_indices=({last},), or out_type='featmap'."
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Turn images (B, C, H, W) into one output for each of ``out_indices``."""
        if self.out_type == 'featmap':
            return super().forward(x)
        x, grid = self.patch_embed(x)
        if self.use_abs_pos_embed:
            x = x + resize_pos_embed(
                self.absolute_pos_embed,
                self.patch_resolution,
                grid,
                self.interpolate_mode,
                self.num_extra_tokens,
            )
        x = self.drop_after_pos(x)
        for stage in self.stages:
            x, grid = stage(x, grid)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        norm = getattr(self, f'norm{self.num_layers - 1}')
        return (norm(self.class_block(x))[:, 0],)

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        self._freeze_class_token()

    def _freeze_class_token(self) -> None:
        if self.out_type == 'featmap' or self.frozen_stages >= self.num_layers - 1:
            self.cls_token.requires_grad_(False)
            self.class_block.eval()
            self.class_block.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter and the number of depths, for layer decay.

        Depths are those of ``SwinTransformer``, counted from the patch embedding (0) to
        the head; the class token has the depth of its block.
        """
        depth, depths = super().get_layer_depth(param_name, prefix)
        if param_name.startswith((f'{prefix}class_block.', f'{prefix}cls_token')):
            depth = sum(self.depths)
        return depth, depths

    def _check_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Refuse another variant; leave out or refuse the block of a stock Swin."""
        last, block = len(self.stages) - 1, len(self.stages[-1].blocks)
        replaced = f'{prefix}stages.{last}.blocks.{block}.'
        names = [name for name in state_dict if name.startswith(replaced)]
        given, own = _variant(state_dict, prefix), _variant(self.state_dict(), '')
        own['blocks'][last] += bool(names)
        check_variant('Swin', given, own, 'arch')
        if not names:
            return
        if not self.from_swin:
            raise InputError(
                'The state dict is of a plain Swin Transformer: it has '
                f'stages.{last}.blocks.{block}, which CASwin replaces by class '
                'attention. Set from_swin=True to load all other tensors; the class '
                'token and its block keep their random initialisation.'
            )
        for name in names:
            del state_dict[name]
        MMLogger.get_current_instance().info(
            f'CASwin: stages.{last}.blocks.{block} ({len(names)} tensors) of the plain '
            'Swin is not loaded; cls_token and class_block keep their initial values'
        )


def _variant(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, list[int]]:
    """Return blocks and width of every stage; {} if the state dict has no block."""
    stages: dict[int, list[int]] = {}
    for name, tensor in state_dict.items():
        block = re.fullmatch(
            r'stages\.(\d+)\.blocks\.\d+\.norm1\.weight', name[len(prefix) :]
        )
        if name.startswith(prefix) and block:
            stages.setdefault(int(block[1]), []).append(len(tensor))
    widths = [stages[index] for index in sorted(stages)]
    if not widths:
        return {}
    return dict(blocks=[len(w) for w in widths], widths=[w[0] for w in widths])


def _output(backbone: nn.Module) -> str:
    if backbone.out_type != 'cls_token':
        raise InputError(
            f'CASwin with out_type={backbone.out_type!r}: feature maps do not include '
            'the class attention, so labels cannot be traced to them; set '
            "out_type='cls_token', or use SwinTransformer for the mean of the tokens."
        )
    return 'class'


register_backbone(
    CASwin,
    BackboneSpec(
        patch=patch_stride,
        prefix=lambda backbone: 0,
        late_tokens=lambda backbone: 1,
        output=_output,
        grid=patch_grid,
        note='class token of the last block',
    ),
)


def _add_class_token(reader: Reader, module: nn.Module, x: Tensor) -> None:
    reader.add_special_tokens()


@register_attention(ClassAttention)
def _attach(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _add_class_token)
    context.replace_attention(module)
