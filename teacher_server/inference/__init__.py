"""The encoder: a CLIP model by open_clip, from weights that are known by their sha256."""
