"""Selection of a training method from the labelled domains alone (`--method auto`)."""
