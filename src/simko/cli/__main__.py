import sys

from simko.cli.main import main

sys.exit(main())
