"""One training of the matrix by itself: `one.py NAME OPTIONS` with the options as JSON. It knows of no sabotage."""

import json
import sys

import trainings

trainings.ALL[sys.argv[1]](trainings.Options(**json.loads(sys.argv[2])))
