"""Random views and line drawings of images."""
