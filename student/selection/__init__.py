"""Choice of the method by a short run on labels alone (`--method auto`)."""
