# ImageNet's validation images, attacked by PGD of 5 steps within 1/255; other attacks:
# --cfg-options test_cfg.protocol=None test_cfg.epsilon=0.004 test_cfg.steps=10
_base_ = './imagenet_224.py'

test_dataloader = dict(batch_size=32)
test_cfg = dict(type='mmtlalign.AttackLoop', protocol='rvt-pgd')
