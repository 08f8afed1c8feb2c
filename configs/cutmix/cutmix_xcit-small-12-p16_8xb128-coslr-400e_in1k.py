# Control of TransMix's XCiT-S12/16: the same mixing, targets by area.
#   bash tools/dist_train.sh configs/cutmix/cutmix_xcit-small-12-p16_8xb128-coslr-400e_in1k.py 8 --amp
# Cost and numbers: as the config below. Ours: that there is a control.
_base_ = '../transmix/transmix_xcit-small-12-p16_8xb128-coslr-400e_in1k.py'

model = dict(head=dict(type='LinearClsHead'))
