"""`python -m resilient_client` is `resilient-client`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
