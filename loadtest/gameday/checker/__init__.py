"""Compares what the buyers were told, the database, the provider's money and the events that were delivered.

It shares no code with the engine: whatever the engine believes of itself, this has to find out anew.
"""
