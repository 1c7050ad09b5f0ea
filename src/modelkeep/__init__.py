"""modelkeep: everything a machine-learning model in production needs, except its deployment."""

from modelkeep._version import __version__ as __version__
