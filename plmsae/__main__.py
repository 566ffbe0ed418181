"""``python -m plmsae``, which is also how ``torchrun`` starts it."""

from plmsae.cli import main

if __name__ == "__main__":
    main()
