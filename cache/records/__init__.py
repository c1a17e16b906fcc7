"""The values that the cache keeps: what was bought, at what price, under which key."""
