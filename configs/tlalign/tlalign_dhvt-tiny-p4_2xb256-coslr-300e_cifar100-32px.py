# DHVT-T with TL-Align, patches of 4 on CIFAR-100 at 32 px, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py 2 --amp
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: the official recipe of DHVT, the config below. Ours: that TL-Align runs with
# it, and its rule for head tokens (Tracer.append_tokens). As in TL-Align's own recipe
# for DeiT, CutMix mixes every batch and Mixup is off.
_base_ = '../dhvt/dhvt-tiny-p4_2xb256-coslr-300e_cifar100-32px.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
