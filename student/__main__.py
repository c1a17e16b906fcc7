"""`python -m student` is `distill-client`."""

import sys

from student.cli import main

if __name__ == "__main__":
    sys.exit(main())
