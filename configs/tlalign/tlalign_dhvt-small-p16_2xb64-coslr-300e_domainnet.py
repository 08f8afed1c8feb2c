# DHVT-S with TL-Align on one set of DomainNet at 224 px, from scratch.
#   for set in clipart painting sketch infograph real quickdraw; do
#     bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-small-p16_2xb64-coslr-300e_domainnet.py 2 --amp \
#         --work-dir work_dirs/tlalign_dhvt-small-p16_2xb64-coslr-300e_domainnet/$set \
#         --cfg-options data_root=data/domainnet/$set
#   done
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: the official recipe of DHVT, the config below. Ours: that TL-Align runs with
# it, and its rule for head tokens (Tracer.append_tokens). As in TL-Align's own recipe
# for DeiT, CutMix mixes every batch and Mixup is off.
_base_ = '../dhvt/dhvt-small-p16_2xb64-coslr-300e_domainnet.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
