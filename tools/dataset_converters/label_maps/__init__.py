"""Make label maps for the images of a folder, for ``make_label_maps.py``."""
