# DHVT-T with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-tiny-p16_2xb128-coslr-300e_in1k.py 2 --amp
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: the official recipe of DHVT, the config below. Ours: that TL-Align runs with
# it, and its rule for head tokens (Tracer.append_tokens). As in TL-Align's own recipe
# for DeiT, CutMix mixes every batch and Mixup is off.
_base_ = '../dhvt/dhvt-tiny-p16_2xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
