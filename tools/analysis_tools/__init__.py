"""Tools that evaluate trained backbones and draw figures of them."""
