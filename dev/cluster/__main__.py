"""`python3 dev/cluster COMMAND`: Python puts this folder first on its path: so it finds the package."""

import sys

from devcluster.cli import main

sys.exit(main(sys.argv[1:]))
