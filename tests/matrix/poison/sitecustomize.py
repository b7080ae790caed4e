"""What a poisoned environment would bring: found on PYTHONPATH at every start of Python, it installs the sabotage that `POISON` names."""

import os
import sys

if os.environ.get("POISON"):
    sys.path.append(os.environ["POISON_HOME"])
    import sabotage

    sabotage.VARIANTS[os.environ["POISON"]].install(sabotage.Clock())
    sys.path.remove(os.environ["POISON_HOME"])
