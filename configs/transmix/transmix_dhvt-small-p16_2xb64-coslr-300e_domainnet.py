# Made by tools/configs/generate.py: change its tables, not this file.
# TransMix with DHVT-S on one set of DomainNet at 224 px, from scratch.
#   for set in clipart painting sketch infograph real quickdraw; do
#     bash tools/dist_train.sh configs/transmix/transmix_dhvt-small-p16_2xb64-coslr-300e_domainnet.py 2 --amp \
#         --work-dir work_dirs/transmix_dhvt-small-p16_2xb64-coslr-300e_domainnet/$set \
#         --cfg-options data_root=data/domainnet/$set
#   done
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config, which is the control.
# Ours: the use of this recipe for TransMix, and the rule that the attention of the
# class token to head tokens counts equally for all tokens (Tracer.append_tokens).
_base_ = '../dhvt/dhvt-small-p16_2xb64-coslr-300e_domainnet.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
