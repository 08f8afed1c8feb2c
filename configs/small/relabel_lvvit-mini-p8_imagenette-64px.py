# Between token labels and their control on Imagenette: the class token learns what
# the map says of the crop, the other tokens learn nothing.
#
#   python tools/train.py THIS_FILE
#
# Cost: about three minutes on one CPU core. Every number is ours.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(loss=dict(dense_weight=0.0)))
