"""`python -m vision_attn`: the same front door as the command `vision-attn`."""

import sys

from vision_attn.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
