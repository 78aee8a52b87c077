"""`python -m ssl_single_image`: the same as `ssl-single-image`."""

from ssl_single_image.cli.main import main

main()
