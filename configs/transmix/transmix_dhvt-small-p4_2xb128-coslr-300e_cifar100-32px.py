# DHVT-S with TransMix, patches of 4 on CIFAR-100 at 32 px, from scratch.
#   bash tools/dist_train.sh configs/transmix/transmix_dhvt-small-p4_2xb128-coslr-300e_cifar100-32px.py 2 --amp
# Expected top-1: in no paper; not trained by us. Cost: not measured by us.
# Numbers: the official recipe of DHVT, the config below, which is the control. Ours:
# that TransMix runs with it, and that what the class token gives to head tokens counts
# for all tokens alike (Tracer.append_tokens).
_base_ = '../dhvt/dhvt-small-p4_2xb128-coslr-300e_cifar100-32px.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
