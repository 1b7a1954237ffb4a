"""`python -m gradsculpt` is `gradsculpt`, exit status and all."""

import sys

from gradsculpt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
