"""One module for each subcommand of `distill-client`."""
