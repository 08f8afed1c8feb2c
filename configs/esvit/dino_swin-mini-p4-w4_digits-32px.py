# DINO on handwritten digits: the control of EsViT, without regions.
#
#   python tools/train.py THIS_FILE
#
# Cost and numbers, what was seen and what is ours: as the config below, whose control
# this is.
_base_ = './esvit_swin-mini-p4-w4_digits-32px.py'

model = dict(region_head=None)
