"""Addresses of the HTTP API, one module for each kind, with what travels over them."""
