# DeiT-B as a plain classifier.
_base_ = './deit_small.py'

model = dict(backbone=dict(arch='deit-base'), head=dict(in_channels=768))
