"""Refuse wrong configs, data, samples and label maps before training starts."""
