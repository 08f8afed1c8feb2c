"""Label maps of the images of a folder, for ``make_label_maps.py``."""
