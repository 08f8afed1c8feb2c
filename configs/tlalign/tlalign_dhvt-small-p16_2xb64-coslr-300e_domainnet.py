# Made by tools/configs/generate.py: change its tables, not this file.
# TL-Align with DHVT-S on one set of DomainNet at 224 px, from scratch.
#   for set in clipart painting sketch infograph real quickdraw; do
#     bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-small-p16_2xb64-coslr-300e_domainnet.py 2 --amp \
#         --work-dir work_dirs/tlalign_dhvt-small-p16_2xb64-coslr-300e_domainnet/$set \
#         --cfg-options data_root=data/domainnet/$set
#   done
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config.
# Ours: the use of this recipe for TL-Align, and its rule for head tokens
# (Tracer.append_tokens). CutMix mixes every batch and Mixup is off, as in its recipe
# for DeiT.
_base_ = '../dhvt/dhvt-small-p16_2xb64-coslr-300e_domainnet.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
