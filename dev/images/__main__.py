"""`python3 dev/images COMMAND`: the package beside this file, which Python finds first on its path."""

import sys

from devimages.cli import main

sys.exit(main(sys.argv[1:]))
