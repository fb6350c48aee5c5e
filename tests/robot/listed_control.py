"""A program: the control process, which writes down at its end what it has imported.

`listed_control.py LIST ...`: the rest is the control process's own command line.
"""

import sys
from pathlib import Path

from scripts.control_host import main

if __name__ == "__main__":
    code = main(sys.argv[2:])
    Path(sys.argv[1]).write_text("\n".join(sys.modules))
    sys.exit(code)
