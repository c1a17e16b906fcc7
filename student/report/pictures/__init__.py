"""Pictures of a run: images with their answers, and the letters to write names with."""
