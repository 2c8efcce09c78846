"""`python -m cli` is `merchdrop`."""

from cli.main import main

main()
