"""dev/images is a tool and no installed package: its folder is put on the path, as running it does."""

import sys

from nodekit import ROOT

sys.path.insert(0, str(ROOT / "dev" / "images"))
