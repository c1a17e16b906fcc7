"""The folder of images on the disk: what is in it, and which names are one class."""
