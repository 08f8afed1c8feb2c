# The comparison of cifar10_vit-mini.py for a GPU: DeiT-T on CIFAR-100, all images, 200
# epochs, in the same units.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR --resume
#
# CIFAR-100 is downloaded to DIR/cifar100 automatically; the rest of DIR is as in its
# base. Cost: not measured by us; the time is estimated from a few steps and printed
# before training starts. All values are ours.
_base_ = './cifar10_vit-mini.py'

starts = dict(
    cutmix=dict(
        config='configs/cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    plain=dict(
        config='configs/mixers/plain_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    tokencutmix=dict(
        config='configs/mixers/'
        'token-cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    transmix=dict(
        config='configs/transmix/'
        'transmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    tlalign=dict(
        config='configs/tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    smmix=dict(
        config='configs/mixers/smmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
    mixpro=dict(
        config='configs/mixers/mixpro_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'
    ),
)
tasks = {
    name: dict(
        options={'model.backbone.arch': 'deit-tiny', 'model.head.in_channels': 192}
    )
    for name in ('imagenette', 'imagenette200')
}
start_options = {
    '_delete_': True,
    'data_root': '{data}/cifar100',
    'default_hooks.checkpoint.interval': 10,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}
results = 'docs/results/cifar100_deit-tiny'
nice = 0
threads = None
at_a_time = None
smoke = dict(_delete_=True)
