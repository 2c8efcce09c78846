"""How fast the engine is, beside what a good engineer writes by the book: `make bench`."""
