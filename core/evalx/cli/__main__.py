"""`python -m evalx.cli`: the command line where no script of that name is on PATH."""

from evalx.cli import main

main()
