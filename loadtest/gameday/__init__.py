"""The game day: break everything on purpose, from a seed, while a crowd buys; then check the books from outside."""
