# The control of token labels on Imagenette: the same network, MixToken and schedule;
# the class token alone is trained, on the labels of the images.
#
#   python tools/train.py THIS_FILE
#
# Cost: about three minutes on one CPU core. Every number is ours.
_base_ = './token-label_lvvit-mini-p8_imagenette-64px.py'

model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
