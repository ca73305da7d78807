"""``python -m napari_sam2.cli`` is ``napari-sam2``."""

import sys

from napari_sam2.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
