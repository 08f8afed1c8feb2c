"""Golden numbers of visible objects against label shares."""

import numpy as np
from golden_files import close

from mmtlalign.evaluation.empty_box import describe_share
from mmtlalign.evaluation.visible_objects import VisibleObjects

NEAR = 1e-6
FIGURES = ('rmse_to_ideal', 'pearson', 'spearman', 'spearman_beyond_area')


def count_in_masks(own, partner, boxes):
    """Count the pixels of the masks (P, H, W) of each pair, by definition."""
    top, bottom, left, right = (side[:, None] for side in boxes.T)
    rows, columns = (np.arange(side) for side in own.shape[1:])
    inside = ((rows >= top) & (rows < bottom))[:, :, None]
    region = inside & ((columns >= left) & (columns < right))[:, None]
    masks = (own, partner, own & ~region, partner & region)
    counts = (mask.sum((1, 2)) for mask in masks)
    return VisibleObjects(*counts, region.mean((1, 2)))


def check_emptybox(path):
    golden = np.load(path, allow_pickle=False)
    own, partner = golden['mask_own'], golden['mask_partner']
    boxes = golden['box_y0_y1_x0_x1']
    visible = count_in_masks(own, partner, boxes)
    numbers = np.arange(len(own))
    by_sums = VisibleObjects.from_images(
        np.concatenate([own, partner]), numbers, numbers + len(own), boxes
    )
    for one in (visible, by_sums):
        same(one.own_fraction, golden['visible_fraction_own'])
        same(one.partner_fraction, golden['visible_fraction_partner'])
        same(one.ideal, golden['ideal_share'])
        same(one.ideal_by_fraction, golden['ideal_share_by_fraction'])
        close(one.usable, golden['usable'], 0)
    close(visible.area, golden['share_cutmix'], NEAR)

    taus = tuple(
        float(key.removeprefix('tau').partition('/')[0])
        for key in golden.files
        if key.endswith('/empty_own')
    )
    assert taus
    for tau in taus:
        close(visible.empty_own(tau), golden[f'tau{tau:g}/empty_own'], 0)
        close(visible.empty_partner(tau), golden[f'tau{tau:g}/empty_partner'], 0)
    methods = [key[6:] for key in golden.files if key.startswith('share_')]
    assert 'cutmix' in methods
    for method in methods:
        figures = describe_share(visible, golden[f'share_{method}'], taus)
        for tau in taus:
            under = f'tau{tau:g}/{method}'
            given = golden[f'{under}/mean_share_given_empty']
            same(figures[f'share_given_empty@{tau:g}'], given)
            close(
                figures[f'phantom_mass@{tau:g}'],
                golden[f'{under}/phantom_label_mass'],
                NEAR,
            )
        for name in FIGURES:
            if f'{method}/{name}' in golden.files:
                close(figures[name], golden[f'{method}/{name}'], NEAR)
            else:
                assert np.isnan(figures[name])


def same(ours, golden):
    """Equal, and NaN in the same places."""
    ours, golden = np.asarray(ours), np.asarray(golden)
    assert (np.isnan(ours) == np.isnan(golden)).all()
    close(np.nan_to_num(ours), np.nan_to_num(golden), NEAR)
