"""`python -m gradsculpt` is `gradsculpt`."""

from gradsculpt.cli.main import main

if __name__ == "__main__":
    main()
