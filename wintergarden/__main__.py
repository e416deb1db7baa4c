"""`python -m wintergarden` is `wintergarden`."""

from wintergarden.cli import main

main()
