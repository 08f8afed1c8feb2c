"""Names of weights in official code bases and in this package, one file per family.

A new family is one more entry of :data:`KEY_MAPS`.
"""

from mmtlalign.checkpoint.key_maps import swin, vit, xcit
from mmtlalign.checkpoint.key_maps.base import KeyMap
from mmtlalign.checkpoint.key_maps.dhvt import DHVT
from mmtlalign.checkpoint.key_maps.lvvit import LVVIT
from mmtlalign.checkpoint.key_maps.pvt import PVT

KEY_MAPS: dict[str, KeyMap] = dict(
    deit=vit.DEIT,
    dhvt=DHVT,
    esvit=swin.ESVIT,
    lvvit=LVVIT,
    mmseg_vit=vit.MMSEG,
    pvt=PVT,
    swin=swin.SWIN,
    timm_swin=swin.TIMM,
    timm_vit=vit.TIMM,
    timm_xcit=xcit.TIMM,
    tlalign=vit.TLALIGN,
    transmix=vit.TRANSMIX,
    xcit=xcit.XCIT,
)
