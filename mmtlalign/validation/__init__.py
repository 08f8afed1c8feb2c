"""Checks of configs, data, samples and label maps before training starts."""
