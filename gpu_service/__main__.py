"""python -m gpu_service."""

import sys

from gpu_service.doctor import DOCTOR

if sys.argv[1:2] == ["doctor"]:
    # Before the command line is imported: what it imports may be what is wrong.
    sys.exit(DOCTOR.run(sys.argv[2:]))

from gpu_service.cli import main

sys.exit(main())
