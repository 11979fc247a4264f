"""``python -m asr_introspect`` is ``asr-introspect``."""

import sys

from asr_introspect.commands import main

sys.exit(main())
