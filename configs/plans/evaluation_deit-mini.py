# The effect of TL-Align on accuracy, robustness and labels, compared with its control:
# a small DeiT on Imagenette, three seeds, evaluated with the suites of
# tools/evaluate.py.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR
#
# DIR holds imagenette224/ and coco200seg/. Cost: its stages took us 135 minutes in
# total, with one CPU core per run, beside much other work. All values are ours; see
# docs/results.md.
starts = dict(
    tlalign=dict(
        title='TL-Align',
        config='configs/small/tlalign_deit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}/imagenette224'},
    ),
    control=dict(
        title='CutMix control',
        config='configs/small/cutmix_deit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}/imagenette224'},
    ),
)
tasks = dict(
    evaluate=dict(
        title='',
        suite=['robustness', 'occlusion', 'attention', 'labels'],
        items=[
            *('clean', 'calibration', 'corruptions', 'fgsm', 'pgd'),
            *('random', 'shuffle', 'jaccard', 'boxes', 'entropy'),
            *('presence', 'rmse', 'ratio-by-layer', 'similarity', 'empty-box'),
        ],
        arguments=[
            *('--limit', '250', '--severities', '1', '3', '5', '--pairs', '1000'),
            *('--objects', '{data}/coco200seg/annotations/instances_val2017.json'),
        ],
    ),
)
seeds = [0, 1, 2]
data = 'data/real'
note = (
    'Small networks, small images, minutes of training: this says how the measures '
    'behave, not how good a method is on ImageNet.'
)
