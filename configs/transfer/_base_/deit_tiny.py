# DeiT-T as a plain classifier.
_base_ = './deit_small.py'

model = dict(backbone=dict(arch='deit-tiny'), head=dict(in_channels=192))
