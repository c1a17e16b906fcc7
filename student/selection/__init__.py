"""Choice of the method, and of how images are shown, by short runs (`--method auto`)."""
