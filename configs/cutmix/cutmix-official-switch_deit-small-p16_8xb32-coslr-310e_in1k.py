# Control of TransMix's DeiT-S with the switch that the released code uses: the same
# mixing, targets by area.
#   bash tools/dist_train.sh configs/cutmix/cutmix-official-switch_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Cost and numbers: as the config below. Ours: that there is a control.
_base_ = '../transmix/transmix-official-switch_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(type='VisionTransformerClsHead'))
