"""The spend as one HTML file, in which every figure leads to its receipts."""
