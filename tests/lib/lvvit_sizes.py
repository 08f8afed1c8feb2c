"""The published sizes of LV-ViT."""

# (size, side of the images): parameters with two linear layers for 1000 classes.
VARIANTS = {
    ('tiny', 224): 8_534_720,
    ('small', 224): 26_151_824,
    ('small', 384): 26_297_744,
    ('medium', 224): 55_830_544,
    ('medium', 384): 56_025_104,
    ('medium', 448): 56_131_600,
    ('large', 224): 150_021_968,
    ('large', 448): 150_473_552,
    ('large', 512): 150_657_872,
}
