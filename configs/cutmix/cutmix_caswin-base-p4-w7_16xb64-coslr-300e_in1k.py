# Control of TL-Align's CASwin-B: plain CutMix, all else the same.
#   bash tools/dist_train.sh configs/cutmix/cutmix_caswin-base-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp
#     (16 GPUs of 64 images; on 8 add --cfg-options train_dataloader.batch_size=128)
# Cost and numbers: as the config below. Ours: that there is a control.
_base_ = '../tlalign/tlalign_caswin-base-p4-w7_16xb64-coslr-300e_in1k.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
