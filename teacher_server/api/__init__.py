"""The wire: routes, bodies, problems."""
