"""The encoder: a CLIP model of open_clip, its weights, its batches and its input."""
