# TransMix' Table 6: whose attention weighs the labels? DeiT-S on ImageNet-1k with its own,
# with that of a frozen DINO, a supervised and a distilled DeiT-S, with that of its own
# averaged weights, and the control without attention.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Put the converted weights of the frozen networks where their recipes name them, or name
# others in the options of a start. Cost: on 8 GPUs; not measured by us. One seed, as in
# the paper; ours are the row of the averaged weights and the suite, which says how far
# the shares are from the area.
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
# The recipes name their batch; fewer or more GPUs scale the rate with it.
arguments = ['--amp', '--auto-scale-lr']
