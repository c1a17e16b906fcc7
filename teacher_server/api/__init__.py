"""The HTTP API: routes, bodies and problems."""
