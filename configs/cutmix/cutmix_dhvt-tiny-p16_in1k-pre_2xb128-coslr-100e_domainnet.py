# Control of tlalign_dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_domainnet: plain CutMix,
# all else the same.
#   for set in clipart painting sketch infograph real quickdraw; do
#     bash tools/dist_train.sh configs/cutmix/cutmix_dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_domainnet.py 2 --amp \
#         --work-dir work_dirs/cutmix_dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_domainnet/$set \
#         --cfg-options data_root=data/domainnet/$set
#   done
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: as the config below. Ours: that there is a control.
_base_ = '../tlalign/tlalign_dhvt-tiny-p16_in1k-pre_2xb128-coslr-100e_domainnet.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
