"""`python -m synthesizer_emulator`, the same as `synthesizer-emulator`."""

from synthesizer_emulator.cli.main import main

if __name__ == "__main__":
    main()
