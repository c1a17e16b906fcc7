"""One budget for several caches: runs lease parts of it, and never spend more than all of it."""
