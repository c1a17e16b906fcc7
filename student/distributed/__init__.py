"""One run in several processes, which a launcher such as `accelerate launch` has started."""
