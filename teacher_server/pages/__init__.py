"""The vendor's web pages: `/` for the holder of a key, `/admin` for the operator."""
