"""The questions chipsim answers: one file each, which defines STUDY; and the `chipsim` command (`cli`).

The environment variable CHIPSIM_STUDIES names further folders of such files, so that a study of one's own is run, shown
and listed by the same command.
"""

import os

__path__ = [*__path__, *filter(None, os.environ.get("CHIPSIM_STUDIES", "").split(os.pathsep))]
