"""Faults planted into judged collections, so that what the diagnosis finds can be counted."""
