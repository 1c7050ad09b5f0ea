"""Objects and the workspace: what must change, how it is put there, and what was put there before."""
