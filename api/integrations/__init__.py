"""Retrievers for frameworks, each over the typed client; each needs the extra of its name."""
