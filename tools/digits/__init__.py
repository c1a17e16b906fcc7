"""Handwritten, printed and lit digits: the second data set, so that no recipe fits one alone."""
