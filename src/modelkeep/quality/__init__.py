"""Quality: profiles, drift measures, and how good predictions were once the truth is known."""
