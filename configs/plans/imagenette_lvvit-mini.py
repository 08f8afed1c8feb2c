# Token Labeling at small scale: a small LV-ViT pretrained on Imagenette with label
# maps, with TL-Align as well, with only the maps' class label, and with the images'
# labels; then UperNet on CamVid.
#
#   python tools/experiments/pretrain_to_downstream.py THIS_FILE --data DIR
#
# DIR holds imagenette224/, imagenette224_labelmaps/ and camvid/ (for how to make the
# maps see the header of configs/small/_base_/imagenette_maps_64px.py).
# Cost: 27 training runs of two to six minutes each, with one CPU core per run; the
# total was not measured. All values are ours; see docs/results.md.
_base_ = './imagenette_swin-mini.py'

starts = dict(
    _delete_=True,
    tokens=dict(
        title='Token Labeling',
        config='configs/small/token-label_lvvit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}'},
    ),
    tlalign=dict(
        title='with TL-Align',
        config='configs/small/tlalign-token-label_lvvit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}'},
    ),
    relabel=dict(
        title='class label of the map',
        config='configs/small/relabel_lvvit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}'},
    ),
    control=dict(
        title='MixToken control',
        config='configs/small/mixtoken_lvvit-mini-p8_imagenette-64px.py',
        options={'data_root': '{data}'},
    ),
    scratch=dict(title='from scratch'),
)
tasks = dict(
    _delete_=True,
    segment=dict(
        title='CamVid',
        config='configs/small/lvvit-mini-p8_mln-upernet_camvid-128x128.py',
        options={'data_root': '{data}/camvid'},
    ),
)
