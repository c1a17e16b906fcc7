"""Choice between training on labels and the one-query recipe (`--method auto`)."""
