"""Wires: how the client buys from vendors that have other APIs than this project's own.

A wire renders a request and reads an answer (`protocol`). `client` sells over a wire what
`student.vendor.client` sells natively, so that planning, buying and recording are the same.
"""
