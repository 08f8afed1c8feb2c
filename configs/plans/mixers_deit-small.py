# Every mixer with and without TL-Align: DeiT-S on ImageNet-1k, then its accuracy on the
# validation set, each start compared with plain CutMix (TL-Align, ICCV 2023, Table 7,
# whose mixers and numbers we could not confirm).
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE
#
# Cost: 23 runs of 300 epochs on 8 GPUs; not measured by us. All runs use one recipe,
# that of TL-Align's control, in which every batch is mixed. The choice of mixers is
# ours, and so is the rule that SMMix and Attentive CutMix use the attention of the
# network itself. TokenMix is its mask alone, without label maps; Mixup has no mask, and
# so no row with TL-Align. For fewer epochs or seeds, write a plan with this one as
# _base_.
starts = {
    f'{name}{suffix}': dict(
        title=f'{title}{joined}',
        config='configs/cutmix/cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py',
        options={
            'model.train_cfg.augments': [dict(augment, type=f'mmtlalign.{kind}')],
            'model.head.type': f'mmtlalign.{method}{head}VisionTransformerClsHead'
            if method or head
            else 'VisionTransformerClsHead',
            **options,
        },
    )
    for name, title, kind, augment, head, options in (
        ('cutmix', 'CutMix', 'CutMix', {}, '', {}),
        ('mixup', 'Mixup', 'Mixup', dict(alpha=0.8), '', {}),
        ('resizemix', 'ResizeMix', 'ResizeMix', {}, '', {}),
        ('fmix', 'FMix', 'FMix', {}, '', {}),
        ('gridmix', 'GridMix', 'GridMix', {}, '', {}),
        ('tokencutmix', 'TokenCutMix', 'TokenCutMix', dict(patch_size=16), '', {}),
        (
            'tokenmix',
            'TokenMix',
            'TokenMix',
            dict(patch_size=16, share=4 / 7),
            '',
            {},
        ),
        ('maskmix', 'MaskMix', 'MaskMix', {}, '', {}),
        (
            'attentive',
            'Attentive CutMix',
            'AttentiveCutMix',
            dict(cells=(7, 7), top_k=6),
            '',
            {
                'model.train_cfg.guide.type': 'mmtlalign.OwnAttention',
                'model.train_cfg.guide.attention': 'cls',
            },
        ),
        (
            'saliencymix',
            'SaliencyMix',
            'SaliencyMix',
            {},
            '',
            {'model.train_cfg.guide.type': 'mmtlalign.FineGrainedSaliency'},
        ),
        (
            'puzzlemix',
            'Puzzle Mix',
            'PuzzleMix',
            {},
            '',
            {'model.train_cfg.guide.type': 'mmtlalign.InputGradient'},
        ),
        (
            'smmix',
            'SMMix',
            'SMMix',
            {},
            'SMMix',
            {
                'model.backbone.out_type': 'raw',
                'model.train_cfg.guide.type': 'mmtlalign.OwnAttention',
            },
        ),
    )
    for suffix, joined, method in (('', '', ''), ('-tlalign', ' + TL-Align', 'TLAlign'))
    if (name, method) != ('mixup', 'TLAlign')
}
tasks = dict(
    accuracy=dict(title='', suite=['robustness'], items=['clean', 'calibration'])
)
control = 'cutmix'
processes = 8
# The recipe states its batch size; with fewer or more GPUs the learning rate is scaled.
arguments = ['--amp', '--auto-scale-lr']
