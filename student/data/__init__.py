"""Labelled images on disk: found, split, rendered as views and laid out for training."""
