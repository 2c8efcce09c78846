"""The figures, each in a module of its own, in the order in which they are measured."""
