"""What a good engineer writes by the book with the same libraries: the other side of every ratio."""
