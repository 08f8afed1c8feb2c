"""Names of weights in official code bases and in this package, one table a family.

A new family is one more entry of :data:`FAMILIES`.
"""

from mmtlalign.engine.weight_tables import swin, vit, xcit
from mmtlalign.engine.weight_tables.dhvt import DHVT
from mmtlalign.engine.weight_tables.family import Family
from mmtlalign.engine.weight_tables.lvvit import LVVIT
from mmtlalign.engine.weight_tables.pvt import PVT

__all__ = ['FAMILIES', 'Family']

FAMILIES: dict[str, Family] = dict(
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
