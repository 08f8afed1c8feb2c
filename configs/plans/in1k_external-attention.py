# TransMix' Table 6: whose attention should weight the labels? DeiT-S on ImageNet-1k
# with its own attention, with that of a frozen DINO, of a supervised and of a distilled
# DeiT-S, with that of its own averaged weights, and the control without attention.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Put the converted weights of the frozen networks at the paths in their recipes, or set
# other paths in the options of a start. Cost: on 8 GPUs; not measured by us. One seed,
# as in the paper. The row of the averaged weights is ours, and so is the suite, which
# measures how far the shares are from the area.
starts = dict(
    own=dict(
        title='TransMix, own attention',
        config='configs/transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
    dino=dict(
        title='DINO',
        config='configs/transmix/transmix-dino_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
    supervised=dict(
        title='supervised DeiT-S',
        config='configs/transmix/'
        'transmix-supervised_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
    distilled=dict(
        title='distilled DeiT-S',
        config='configs/transmix/'
        'transmix-distilled_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
    ema=dict(
        title='averaged weights',
        config='configs/transmix/transmix-ema_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
    control=dict(
        title='CutMix control',
        config='configs/cutmix/cutmix_deit-small-p16_8xb32-coslr-310e_in1k.py',
    ),
)
tasks = dict(labels=dict(title='labels', suite=['labels'], items=['rmse']))
processes = 8
# The recipes state their batch size; with fewer or more GPUs the learning rate is
# scaled. Without mixed precision, as in the official code.
arguments = ['--auto-scale-lr']
