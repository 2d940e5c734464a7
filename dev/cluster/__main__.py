"""`python3 dev/cluster COMMAND`: the package beside this file, found because Python puts this folder first on its path."""

import sys

from devcluster.cli import main

sys.exit(main(sys.argv[1:]))
