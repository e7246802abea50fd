"""`python -m vision_attn`: the same front door as the command `vision-attn`."""

from vision_attn.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
